{{/* What the programs read once, when they start. Provider keys are read for every generation. */}}
{{- define "tokencast.broker.config" -}}
{{- $broker := .Values.broker -}}
{{ include "tokencast.redis.config" . }}
TOKENCAST_LISTEN: "8080"
TOKENCAST_OPS_LISTEN: "9464"
# Beyond loopback the broker wants to be told; who may come was said in broker.access.
TOKENCAST_ALLOW_ANONYMOUS: "true"
TOKENCAST_LOOPS: {{ int $broker.loops | quote }}
TOKENCAST_MAX_MEMORY: {{ include "tokencast.maxMemory" $broker.resources.limits.memory }}
# preStop sleeps while endpoints are taken away.
TOKENCAST_DRAIN_DELAY: "0"
TOKENCAST_DRAIN_WINDOW: {{ printf "%ds" (int $broker.drain.windowSeconds) }}
TOKENCAST_DRAIN: {{ printf "%ds" (int $broker.drain.cutoffSeconds) }}
{{- if $broker.idSecret.existingSecret }}
TOKENCAST_ID_SECRET_FILE: /run/tokencast/id-secret/id-secret
{{- end }}
{{ include "tokencast.options" $broker.options | trim }}
{{- end -}}

{{- define "tokencast.worker.config" -}}
{{- $worker := .Values.worker -}}
{{ include "tokencast.redis.config" . }}
TOKENCAST_OPS_LISTEN: "9465"
TOKENCAST_PROVIDER: {{ $worker.provider.name }}
{{- with $worker.provider.upstream }}
TOKENCAST_UPSTREAM: {{ . | quote }}
{{- end }}
{{- with $worker.provider.model }}
TOKENCAST_MODEL: {{ . | quote }}
{{- end }}
{{- if include "tokencast.provider.secret" . }}
TOKENCAST_API_KEY_FILE: /run/tokencast/provider/api-key
{{- end }}
TOKENCAST_SLOTS: {{ int $worker.slots | quote }}
TOKENCAST_GRACE: {{ printf "%ds" (int $worker.graceSeconds) }}
{{ include "tokencast.options" $worker.options | trim }}
{{- end -}}

{{- define "tokencast.provider.secret" -}}
{{- if .Values.worker.provider.existingSecret -}}
{{- .Values.worker.provider.existingSecret -}}
{{- else if .Values.worker.provider.apiKey -}}
{{- printf "%s-provider" (include "tokencast.fullname" .) -}}
{{- end -}}
{{- end -}}
