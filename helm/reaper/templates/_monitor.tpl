{{- /* How Prometheus scrapes a pod. Arguments: root, values (of the monitor). */ -}}
{{- define "reaper.endpoint" -}}
port: http
path: /metrics
{{- with .values.interval }}
interval: {{ . }}
{{- end }}
{{- with .values.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .root.Values.secrets.web.tokenSecret }}
authorization:
  type: Bearer
  credentials:
    name: {{ .name }}
    key: {{ .key | default "token" }}
{{- end }}
{{- with .values.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
