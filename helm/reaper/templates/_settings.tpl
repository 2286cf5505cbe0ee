{{- /* Where things are mounted. */ -}}
{{- define "reaper.paths" -}}
config: /etc/reaper/config
policies: /etc/reaper/policies
secrets: /etc/reaper/secrets
state: /var/lib/reaper
{{- end }}

{{- /*
The settings file: the values' config, with what the chart decides itself. Keys that YAML 1.1, which Helm reads, takes
for truth values (on, off) get their names back.
*/ -}}
{{- define "reaper.settings" -}}
{{- $paths := include "reaper.paths" . | fromYaml }}
{{- $settings := deepCopy .Values.config }}
{{- if include "reaper.policiesConfigMap" . }}
{{- $_ := set $settings "policies" (list $paths.policies) }}
{{- end }}
{{- if eq .Values.store.type "sqlite" }}
{{- $_ := set $settings "store" (dict "url" (printf "sqlite:///%s/reaper.db" $paths.state)) }}
{{- end }}
{{- range $registry := $settings.registries }}
  {{- $secrets := get $.Values.secrets.registries $registry.name | default dict }}
  {{- $folder := printf "%s/registries/%s" $paths.secrets $registry.name }}
  {{- if $secrets.passwordSecret }}{{ $_ := set $registry "password_file" (printf "%s/password" $folder) }}{{ end }}
  {{- if $secrets.tokenSecret }}{{ $_ := set $registry "token_file" (printf "%s/token" $folder) }}{{ end }}
  {{- if $secrets.dockerConfigSecret }}{{ $_ := set $registry "docker_config" (printf "%s/config.json" $folder) }}{{ end }}
  {{- if or $secrets.caConfigMap $secrets.caSecret }}{{ $_ := set $registry "ca_file" (printf "%s/ca.crt" $folder) }}{{ end }}
  {{- with $registry.collect }}
    {{- if $secrets.collectKubeconfigSecret }}{{ $_ := set .kubernetes "kubeconfig" (printf "%s/kubeconfig" $folder) }}{{ end }}
    {{- if $secrets.collectTokenSecret }}{{ $_ := set .webhook "token_file" (printf "%s/collect-token" $folder) }}{{ end }}
    {{- with .read_only }}
      {{- range $truth, $key := dict "true" "on" "false" "off" }}
        {{- if hasKey $registry.collect.read_only $truth }}
          {{- $_ := set $registry.collect.read_only $key (get $registry.collect.read_only $truth) }}
          {{- $_ := unset $registry.collect.read_only $truth }}
        {{- end }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- range $index, $receiver := $settings.notify }}
  {{- $secrets := get $.Values.secrets.notify $receiver.name | default dict }}
  {{- if $secrets.urlSecret }}{{ $_ := set $receiver "url_file" (printf "%s/notify/%d/url" $paths.secrets $index) }}{{ end }}
  {{- if hasKey $receiver "true" }}
    {{- $_ := set $receiver "on" (get $receiver "true") }}
    {{- $_ := unset $receiver "true" }}
  {{- end }}
{{- end }}
{{- range $index, $cluster := dig "in_use" "clusters" list $settings }}
  {{- $secrets := get $.Values.secrets.clusters $cluster.name | default dict }}
  {{- if $secrets.kubeconfigSecret }}
    {{- $_ := set $cluster "kubeconfig" (printf "%s/clusters/%d/kubeconfig" $paths.secrets $index) }}
  {{- end }}
{{- end }}
{{- with .Values.secrets.web }}
  {{- if .tokenSecret }}{{ $_ := set $settings.web "token_file" (printf "%s/web/token" $paths.secrets) }}{{ end }}
  {{- if .eventsSecret }}{{ $_ := set $settings.web "events_secret_file" (printf "%s/web/events" $paths.secrets) }}{{ end }}
{{- end }}
{{- $election := $settings.leader_election }}
{{- if and $election.enabled (not $election.name) }}
{{- $_ := set $election "name" (include "reaper.fullname" .) }}
{{- end }}
{{- if and $election.enabled (not $election.namespace) }}
{{- $_ := set $election "namespace" (include "reaper.namespace" .) }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- /* Of the settings above, the clusters that are this one, as {clusters: […]}. */ -}}
{{- define "reaper.ownClusters" -}}
{{- $own := list }}
{{- range dig "in_use" "clusters" list (include "reaper.settings" . | fromYaml) }}
{{- if not .kubeconfig }}{{ $own = append $own . }}{{ end }}
{{- end }}
{{- toYaml (dict "clusters" $own) }}
{{- end }}

{{- /*
Of the settings above, the collections in this cluster, as {collections: [{via, namespace, resource, name, job}]}.
The job's name is the one that reaper gives it.
*/ -}}
{{- define "reaper.ownCollections" -}}
{{- $own := list }}
{{- $kinds := dict }}
{{- range $kind, $short := dict "deployment" "deploy" "statefulset" "sts" "daemonset" "ds" }}
{{- range list $kind $short (print $kind "s") }}{{ $_ := set $kinds . $kind }}{{ end }}
{{- end }}
{{- range (include "reaper.settings" . | fromYaml).registries }}
{{- with .collect }}
{{- $via := .via | default "" }}
{{- with .kubernetes }}
{{- if and (hasPrefix "kubernetes-" $via) (not .kubeconfig) }}
{{- $workload := trim .workload | splitList "/" }}
{{- $kind := get $kinds (first $workload | lower) }}
{{- $name := last $workload }}
{{- $job := printf "reaper-gc-%s-%s" $kind $name }}
{{- if or (gt (len $job) 63) (contains "." $job) }}
{{- $job = printf "%s-%s" (trunc 54 $job | replace "." "-") (sha256sum $job | trunc 8) }}
{{- end }}
{{- $own = append $own (dict "via" $via "namespace" .namespace "resource" (print $kind "s") "name" $name "job" $job) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml (dict "collections" $own) }}
{{- end }}

{{- /* "true" where the pod talks to the API server of its own cluster. */ -}}
{{- define "reaper.needsCluster" -}}
{{- $election := .Values.config.leader_election }}
{{- if or (include "reaper.ownClusters" . | fromYaml).clusters (and $election.enabled (not $election.kubeconfig)) .Values.rbac.collection -}}
true
{{- end }}
{{- end }}

{{- /* One source of a projected volume. Arguments: kind, ref ({name, key}), key (if ref has none), path. */ -}}
{{- define "reaper.source" }}
- {{ .kind }}:
    name: {{ .ref.name }}
    items:
      - key: {{ .ref.key | default .key }}
        path: {{ .path }}
{{- end }}

{{- /* The sources of the projected volume with all the secrets; empty without any. */ -}}
{{- define "reaper.sources" }}
{{- $secrets := .Values.secrets }}
{{- range $name, $refs := $secrets.registries }}
{{- $folder := printf "registries/%s" $name }}
{{- with $refs.passwordSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "password" "path" (printf "%s/password" $folder)) }}
{{- end }}
{{- with $refs.tokenSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "token" "path" (printf "%s/token" $folder)) }}
{{- end }}
{{- with $refs.dockerConfigSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" ".dockerconfigjson" "path" (printf "%s/config.json" $folder)) }}
{{- end }}
{{- with $refs.caSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "ca.crt" "path" (printf "%s/ca.crt" $folder)) }}
{{- end }}
{{- with $refs.collectKubeconfigSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "kubeconfig" "path" (printf "%s/kubeconfig" $folder)) }}
{{- end }}
{{- with $refs.collectTokenSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "token" "path" (printf "%s/collect-token" $folder)) }}
{{- end }}
{{- with $refs.caConfigMap }}
{{- include "reaper.source" (dict "kind" "configMap" "ref" . "key" "ca.crt" "path" (printf "%s/ca.crt" $folder)) }}
{{- end }}
{{- end }}
{{- with $secrets.web.tokenSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "token" "path" "web/token") }}
{{- end }}
{{- with $secrets.web.eventsSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "secret" "path" "web/events") }}
{{- end }}
{{- range $index, $receiver := .Values.config.notify }}
{{- with (get $secrets.notify $receiver.name | default dict).urlSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "url" "path" (printf "notify/%d/url" $index)) }}
{{- end }}
{{- end }}
{{- range $index, $cluster := dig "in_use" "clusters" list .Values.config }}
{{- with (get $secrets.clusters $cluster.name | default dict).kubeconfigSecret }}
{{- include "reaper.source" (dict "kind" "secret" "ref" . "key" "kubeconfig" "path" (printf "clusters/%d/kubeconfig" $index)) }}
{{- end }}
{{- end }}
{{- end }}
