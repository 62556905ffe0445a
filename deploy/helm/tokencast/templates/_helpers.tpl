{{/* Names and labels */}}
{{- define "tokencast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tokencast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains (include "tokencast.name" .) .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tokencast.name" .) | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes in a release's life: (dict "top" . "component" "broker") */}}
{{- define "tokencast.selector" -}}
app.kubernetes.io/name: {{ include "tokencast.name" .top }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* What runs, so that metrics tell versions apart: the tag, or the beginning of the digest. */}}
{{- define "tokencast.version" -}}
{{- $image := .image | default dict -}}
{{- $digest := $image.digest | default "" | trimPrefix "sha256:" | trunc 12 -}}
{{- $image.tag | default $digest | default .top.Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | quote -}}
{{- end -}}

{{/* Of pods: a new version of the chart alone is no reason for new pods, so its name is not here. */}}
{{- define "tokencast.podLabels" -}}
app.kubernetes.io/part-of: tokencast
app.kubernetes.io/version: {{ include "tokencast.version" . }}
{{ include "tokencast.selector" . }}
{{- end -}}

{{- define "tokencast.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
{{ include "tokencast.podLabels" . }}
{{- end -}}

{{- define "tokencast.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest | quote -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .top.Chart.AppVersion) | quote -}}
{{- end -}}
{{- end -}}

{{/* Pod security, the same for every pod: (dict "top" . "user" 65532 "group" 65532) */}}
{{- define "tokencast.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .top.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int .user }}
  runAsGroup: {{ int .group }}
  fsGroup: {{ int .group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "tokencast.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where a tier's pods go: (dict "top" . "component" "broker" "tier" .Values.broker) */}}
{{- define "tokencast.placement" -}}
{{- if .tier.topologyKeys -}}
topologySpreadConstraints:
{{- range .tier.topologyKeys }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tokencast.selector" $ | nindent 8 }}
    # Each revision is spread by itself: pods that are about to go do not count.
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- with .tier.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Probes on the operations port. A loop that is busy for seconds is alive: liveness is patient. */}}
{{- define "tokencast.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: ops}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: ops}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: ops}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* {lag-events: 1024} as the variables of the program */}}
{{- define "tokencast.options" -}}
{{- range $name, $value := . }}
TOKENCAST_{{ $name | upper | replace "-" "_" }}: {{ if kindIs "float64" $value }}{{ $value | int64 | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end -}}

{{/* 85 % of a memory limit in Mi or Gi: sockets' buffers are the kernel's and come on top. */}}
{{- define "tokencast.maxMemory" -}}
{{- $mebi := trimSuffix "Mi" (trimSuffix "Gi" .) | int -}}
{{- if hasSuffix "Gi" . -}}{{- $mebi = mul $mebi 1024 -}}{{- end -}}
{{- printf "%dm" (div (mul $mebi 85) 100) -}}
{{- end -}}
