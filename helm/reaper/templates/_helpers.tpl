{{- define "reaper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The objects' name. Short enough for the longest suffix. */ -}}
{{- define "reaper.fullname" -}}
{{- $name := include "reaper.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "reaper.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "reaper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reaper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: daemon
{{- end }}

{{- /* What is common to all objects: no component, since not everything belongs to the daemon. */ -}}
{{- define "reaper.releaseLabels" -}}
app.kubernetes.io/name: {{ include "reaper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The pods' labels: without the chart's version, so that a new chart alone restarts nothing. */ -}}
{{- define "reaper.podLabels" -}}
{{- toYaml (merge (include "reaper.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels) }}
{{- end }}

{{- define "reaper.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "reaper.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* metadata of an object. Arguments: root, and optionally name, namespace ("" for none), labels, annotations. */ -}}
{{- define "reaper.metadata" -}}
{{- $labels := merge (dict) (.labels | default dict) (include "reaper.labels" .root | fromYaml) -}}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations -}}
name: {{ .name | default (include "reaper.fullname" .root) }}
{{- if not .clusterScoped }}
namespace: {{ .namespace | default (include "reaper.namespace" .root) }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "reaper.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "reaper.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "reaper.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "reaper.claimName" -}}
{{- default (include "reaper.fullname" .) .Values.store.sqlite.persistence.existingClaim }}
{{- end }}

{{- /* The name of the ConfigMap with the policies, empty without any. */ -}}
{{- define "reaper.policiesConfigMap" -}}
{{- if .Values.policiesConfigMap }}
{{- .Values.policiesConfigMap }}
{{- else if .Values.policies }}
{{- include "reaper.fullname" . }}-policies
{{- end }}
{{- end }}

{{- define "reaper.port" -}}
{{- regexFind "[0-9]+$" .Values.config.web.listen }}
{{- end }}

{{- /* Seconds of a duration such as 15m. */ -}}
{{- define "reaper.seconds" -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800) (regexFind "[smhdw]$" .)) }}
{{- end }}
