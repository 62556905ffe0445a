{{/* Rules that several policies share */}}
{{- define "tokencast.egress.dns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{- define "tokencast.egress.redis" -}}
{{- $top := .top -}}
- ports:
    {{- range $port, $_ := .ports }}
    - {port: {{ $port }}, protocol: TCP}
    {{- end }}
  {{- if $top.Values.redis.bundled.enabled }}
  to:
    - podSelector:
        matchLabels:
          {{- include "tokencast.selector" (dict "top" $top "component" "redis") | nindent 10 }}
  {{- else if $top.Values.networkPolicy.redisTo }}
  to:
    {{- toYaml $top.Values.networkPolicy.redisTo | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "tokencast.ingress.from" -}}
- ports:
    - {port: {{ .port }}, protocol: TCP}
  {{- with .from }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
