{{- /* What the daemon's and the test's pod have in common. */ -}}
{{- define "reaper.podBasics" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "reaper.containerBasics" -}}
image: {{ include "reaper.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{- define "reaper.env" -}}
- name: REAPER_CONFIG
  value: {{ (include "reaper.paths" . | fromYaml).config }}/reaper.yaml
{{- if eq .Values.store.type "postgresql" }}
- name: REAPER_STORE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.postgresql.urlSecret.name }}
      key: {{ .Values.store.postgresql.urlSecret.key | default "url" }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "reaper.volumeMounts" -}}
{{- $paths := include "reaper.paths" . | fromYaml -}}
- name: config
  mountPath: {{ $paths.config }}
  readOnly: true
{{- if include "reaper.policiesConfigMap" . }}
- name: policies
  mountPath: {{ $paths.policies }}
  readOnly: true
{{- end }}
{{- if include "reaper.sources" . }}
- name: secrets
  mountPath: {{ $paths.secrets }}
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "reaper.volumes" -}}
- name: config
  configMap:
    name: {{ include "reaper.fullname" . }}
{{- with include "reaper.policiesConfigMap" . }}
- name: policies
  configMap:
    name: {{ . }}
{{- end }}
{{- with include "reaper.sources" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmpSizeLimit }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
