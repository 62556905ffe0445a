{{/* Where Redis is, as each who talks to it wants it. */}}
{{- define "tokencast.redis.addresses" -}}
{{- if .Values.redis.bundled.enabled -}}
{{- printf "%s-redis:6379" (include "tokencast.fullname" .) -}}
{{- else -}}
{{- join "," .Values.redis.addresses -}}
{{- end -}}
{{- end -}}

{{- define "tokencast.redis.url" -}}
{{- $redis := .Values.redis -}}
{{- $scheme := ternary "rediss" "redis" $redis.tls.enabled -}}
{{- if ne $redis.mode "single" -}}{{- $scheme = printf "%s+%s" $scheme $redis.mode -}}{{- end -}}
{{- $user := ternary "" (printf "%s@" $redis.username) (empty $redis.username) -}}
{{- $url := printf "%s://%s%s" $scheme $user (include "tokencast.redis.addresses" .) -}}
{{- if eq $redis.mode "sentinel" -}}{{- $url = printf "%s/%s" $url $redis.sentinelMaster -}}{{- end -}}
{{- if gt (int $redis.database) 0 -}}{{- $url = printf "%s/%d" $url (int $redis.database) -}}{{- end -}}
{{- $url -}}
{{- end -}}

{{- define "tokencast.redis.jobsKey" -}}
{{- printf "%sjobs%s" .Values.shared.prefix (ternary "" (printf ":%s" .Values.shared.queue) (empty .Values.shared.queue)) -}}
{{- end -}}

{{- define "tokencast.redis.secret" -}}
{{- if .Values.redis.existingSecret -}}
{{- .Values.redis.existingSecret -}}
{{- else if .Values.redis.password -}}
{{- printf "%s-redis" (include "tokencast.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "tokencast.redis.secretKey" -}}
{{- ternary .Values.redis.existingSecretKey "password" (not (empty .Values.redis.existingSecret)) -}}
{{- end -}}

{{/* What both tiers are told: the shared options and the way to Redis. */}}
{{- define "tokencast.redis.config" -}}
TOKENCAST_REDIS: {{ include "tokencast.redis.url" . | quote }}
{{- if include "tokencast.redis.secret" . }}
TOKENCAST_REDIS_PASSWORD_FILE: /run/tokencast/redis/password
{{- end }}
{{- if .Values.redis.tls.enabled }}
{{- if .Values.redis.tls.insecure }}
TOKENCAST_REDIS_TLS_INSECURE: "true"
{{- end }}
{{- if .Values.redis.tls.existingSecret }}
TOKENCAST_REDIS_CA_FILE: /run/tokencast/redis-tls/ca.crt
{{- if .Values.redis.tls.clientCertificate }}
TOKENCAST_REDIS_CERT_FILE: /run/tokencast/redis-tls/tls.crt
TOKENCAST_REDIS_KEY_FILE: /run/tokencast/redis-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
TOKENCAST_PREFIX: {{ .Values.shared.prefix | quote }}
{{- with .Values.shared.queue }}
TOKENCAST_QUEUE: {{ . | quote }}
{{- end }}
TOKENCAST_LEASE_MS: {{ .Values.shared.lease | quote }}
TOKENCAST_RETENTION: {{ .Values.shared.retention | quote }}
TOKENCAST_LOG_FORMAT: {{ .Values.shared.logFormat }}
TOKENCAST_LOG_LEVEL: {{ .Values.shared.logLevel }}
{{- end -}}

{{- define "tokencast.redis.mounts" -}}
{{- if include "tokencast.redis.secret" . }}
- {name: redis, mountPath: /run/tokencast/redis, readOnly: true}
{{- end }}
{{- if and .Values.redis.tls.enabled .Values.redis.tls.existingSecret }}
- {name: redis-tls, mountPath: /run/tokencast/redis-tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "tokencast.redis.volumes" -}}
{{- if include "tokencast.redis.secret" . }}
- name: redis
  secret:
    secretName: {{ include "tokencast.redis.secret" . }}
    defaultMode: 288 # 0440
    items:
      - {key: {{ include "tokencast.redis.secretKey" . }}, path: password}
{{- end }}
{{- if and .Values.redis.tls.enabled .Values.redis.tls.existingSecret }}
- name: redis-tls
  secret:
    secretName: {{ .Values.redis.tls.existingSecret }}
    defaultMode: 288 # 0440
{{- end }}
{{- end -}}


{{/* The way to the job queue, in KEDA's words */}}
{{- define "tokencast.keda.redis" -}}
{{- $redis := .Values.redis -}}
{{- if eq $redis.mode "single" }}
address: {{ include "tokencast.redis.addresses" . | quote }}
{{- else }}
addresses: {{ include "tokencast.redis.addresses" . | quote }}
{{- end }}
{{- if eq $redis.mode "sentinel" }}
sentinelMaster: {{ $redis.sentinelMaster }}
{{- end }}
{{- if ne $redis.mode "cluster" }}
databaseIndex: {{ int $redis.database | quote }}
{{- end }}
{{- if $redis.username }}
username: {{ $redis.username | quote }}
{{- end }}
enableTLS: {{ $redis.tls.enabled | quote }}
{{- if $redis.tls.insecure }}
unsafeSsl: "true"
{{- end }}
stream: {{ include "tokencast.redis.jobsKey" . | quote }}
{{- end -}}
