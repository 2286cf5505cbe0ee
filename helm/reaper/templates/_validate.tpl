{{- /* Stops where values contradict each other: tells all of it at once, each with what would be right. */ -}}
{{- define "reaper.validate" -}}
{{- $problems := list }}
{{- range list "secrets" "settings" "pods" "cluster" }}
{{- /* The others rely on what the first sees to. */}}
{{- if or (ne . "cluster") (not $problems) }}
{{- $problems = concat $problems (include (print "reaper.problems." .) $ | splitList "\n") | compact }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n%s\n" (join "\n" $problems)) }}
{{- end }}
{{- end }}

{{- define "reaper.problems.settings" -}}
{{- $config := .Values.config }}
{{- if not $config.registries }}
- config.registries is empty: name one, such as {name: main, url: https://registry.example.com}
{{- end }}
{{- $own := not (empty $config.registries) }}
{{- range $config.registries }}{{ if not .policies }}{{ $own = false }}{{ end }}{{ end }}
{{- if and .Values.policies .Values.policiesConfigMap }}
- policies stand beside policiesConfigMap: keep one of them
{{- else if not (or .Values.policies .Values.policiesConfigMap $own) }}
- there is no policy: give policies, such as the repository's policies/starter.yaml, or policiesConfigMap
{{- end }}
{{- if hasKey $config "policies" }}
- config.policies is the chart's: give policies, or policiesConfigMap
{{- end }}
{{- if hasKey $config "store" }}
- config.store is the chart's: see store
{{- end }}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\]:)" $config.web.listen }}
- config.web.listen is {{ $config.web.listen }}, where no probe reaches it: write 0.0.0.0:8080
{{- end }}
{{- end }}

{{- define "reaper.problems.secrets" -}}
{{- $secrets := .Values.secrets }}
{{- $known := dict }}
{{- range $registry := .Values.config.registries }}
{{- $_ := set $known .name true }}
{{- $refs := get $secrets.registries .name | default dict }}
{{- range $key := list "password" "token" }}
{{- if hasKey $registry $key }}
- the {{ $key }} of registry {{ $registry.name }} would stand in a ConfigMap: use secrets.registries.{{ $registry.name }}.{{ $key }}Secret
{{- end }}
{{- end }}
{{- range $value, $key := dict "passwordSecret" "password_file" "tokenSecret" "token_file" "dockerConfigSecret" "docker_config" "caSecret" "ca_file" "caConfigMap" "ca_file" }}
{{- if and (get $refs $value) (hasKey $registry $key) }}
- secrets.registries.{{ $registry.name }}.{{ $value }} stands beside that registry's {{ $key }}: keep one of them
{{- end }}
{{- end }}
{{- if and .username (not (or $refs.passwordSecret .password .password_file)) }}
- registry {{ .name }} has a username and no password: add secrets.registries.{{ .name }}.passwordSecret
{{- end }}
{{- if and $refs.passwordSecret (not .username) }}
- registry {{ .name }} has a passwordSecret and no username
{{- end }}
{{- if and $refs.tokenSecret (or $refs.passwordSecret .username) }}
- registry {{ .name }} has a tokenSecret beside a user's login: keep one of them
{{- end }}
{{- $collect := .collect | default dict }}
{{- if dig "webhook" "token" "" $collect }}
- the token of registry {{ .name }}'s webhook would stand in a ConfigMap: use secrets.registries.{{ .name }}.collectTokenSecret
{{- end }}
{{- if and $refs.collectTokenSecret (not $collect.webhook) }}
- secrets.registries.{{ .name }}.collectTokenSecret is of no use: that registry has no collect.webhook
{{- end }}
{{- if and $refs.collectKubeconfigSecret (not $collect.kubernetes) }}
- secrets.registries.{{ .name }}.collectKubeconfigSecret is of no use: that registry has no collect.kubernetes
{{- end }}
{{- if and $refs.caSecret $refs.caConfigMap }}
- registry {{ .name }} has a caSecret beside a caConfigMap: keep one of them
{{- end }}
{{- end }}
{{- range $name, $_ := $secrets.registries }}
{{- if not (hasKey $known $name) }}
- secrets.registries.{{ $name }} is of no registry in config.registries
{{- end }}
{{- end }}

{{- $known = dict }}
{{- range .Values.config.notify }}
{{- $_ := set $known .name true }}
{{- $ref := (get $secrets.notify .name | default dict).urlSecret }}
{{- if .url }}
- the url of receiver {{ .name }} is a secret and would stand in a ConfigMap: use secrets.notify
{{- else if and $ref .url_file }}
- secrets.notify of receiver {{ .name }} stands beside its url_file: keep one of them
{{- else if not (or $ref .url_file) }}
- receiver {{ .name }} has no url: add its urlSecret under secrets.notify
{{- end }}
{{- end }}
{{- range $name, $_ := $secrets.notify }}
{{- if not (hasKey $known $name) }}
- secrets.notify.{{ $name }} is of no receiver in config.notify
{{- end }}
{{- end }}

{{- $known = dict }}
{{- range dig "in_use" "clusters" list .Values.config }}
{{- $_ := set $known .name true }}
{{- if and .kubeconfig (get $secrets.clusters .name) }}
- secrets.clusters of {{ .name }} stands beside its kubeconfig: keep one of them
{{- end }}
{{- end }}
{{- range $name, $_ := $secrets.clusters }}
{{- if not (hasKey $known $name) }}
- secrets.clusters.{{ $name }} is of no cluster in config.in_use.clusters
{{- end }}
{{- end }}

{{- range $value, $key := dict "tokenSecret" "token" "eventsSecret" "events_secret" }}
{{- if hasKey $.Values.config.web $key }}
- config.web.{{ $key }} would stand in a ConfigMap: use secrets.web.{{ $value }}
{{- end }}
{{- if and (get $secrets.web $value) (hasKey $.Values.config.web (printf "%s_file" $key)) }}
- secrets.web.{{ $value }} stands beside config.web.{{ $key }}_file: keep one of them
{{- end }}
{{- end }}
{{- end }}

{{- define "reaper.problems.pods" -}}
{{- $sqlite := eq .Values.store.type "sqlite" }}
{{- $volume := .Values.store.sqlite.persistence }}
{{- $url := .Values.store.postgresql.urlSecret }}
{{- if not .Values.image.repository }}
- image.repository is missing: where you pushed the image
{{- end }}
{{- if and $sqlite $url }}
- store.postgresql.urlSecret without store.type postgresql
{{- else if not (or $sqlite $url) }}
- store.type postgresql needs store.postgresql.urlSecret
{{- end }}
{{- if and $sqlite (not $volume.enabled) (not .Values.config.dry_run) }}
- deletes could not be undone once the pod is gone: enable store.sqlite.persistence, or keep config.dry_run
{{- end }}
{{- if and $sqlite (eq (.Values.updateStrategy.type | default "") "RollingUpdate") }}
- updateStrategy RollingUpdate would run two pods on one SQLite database: use Recreate, or store.type postgresql
{{- end }}
{{- $grace := .Values.config.shutdown_grace }}
{{- if ge (include "reaper.seconds" $grace | int64) (int64 .Values.terminationGracePeriodSeconds) }}
- config.shutdown_grace is {{ $grace }}, but pods are killed after {{ .Values.terminationGracePeriodSeconds }} s: raise terminationGracePeriodSeconds
{{- end }}
{{- if gt (int .Values.replicaCount) 1 }}
{{- if $sqlite }}
- replicaCount is {{ .Values.replicaCount }}: replicas cannot share SQLite, use store.type postgresql
{{- end }}
{{- if not .Values.config.leader_election.enabled }}
- replicaCount is {{ .Values.replicaCount }}: set config.leader_election.enabled, so that only one of them writes
{{- end }}
{{- end }}
{{- end }}

{{- define "reaper.problems.cluster" -}}
{{- if gt (len (include "reaper.ownClusters" . | fromYaml).clusters) 1 }}
- several of config.in_use.clusters have no kubeconfig, and only one can be this cluster
{{- end }}
{{- $account := .Values.serviceAccount }}
{{- $needed := include "reaper.needsCluster" . }}
{{- if and $needed .Values.rbac.create (not $account.create) (not $account.name) }}
- the roles would go to the namespace's default service account: give serviceAccount.name
{{- end }}
{{- if and $needed (eq (toString $account.automount) "false") }}
- the settings need the cluster, and serviceAccount.automount is false
{{- end }}
{{- range (include "reaper.ownCollections" . | fromYaml).collections }}
{{- if and $.Values.rbac.create (not $.Values.rbac.collection) }}
- a registry collects via {{ .via }}: allow it with rbac.collection, or make the roles yourself and set rbac.create to false
{{- end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
- serviceMonitor and podMonitor would scrape each pod twice: enable one of them
{{- end }}
{{- range $monitor := list "serviceMonitor" "podMonitor" }}
{{- $values := get $.Values.metrics $monitor }}
{{- if and $values.enabled $.Values.secrets.web.tokenSecret (not (has $values.namespace (list "" (include "reaper.namespace" $)))) }}
- the {{ $monitor }} in namespace {{ $values.namespace }} could not read the secret of secrets.web.tokenSecret: leave its namespace empty
{{- end }}
{{- end }}
{{- end }}
