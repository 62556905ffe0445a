{{/* What no schema can say: values that need each other. Rendered once, from the broker's Deployment. */}}
{{- define "tokencast.checks" -}}
{{- $redis := .Values.redis -}}
{{- if not (or .Values.broker.access.allowAnonymous .Values.broker.access.authenticatedBy) -}}
{{- fail "broker.access: the broker has no access control; whoever reaches it can start, read and stop generations. Say what stands in front and decides who may come (broker.access.authenticatedBy), or that everybody may (broker.access.allowAnonymous=true)." -}}
{{- end -}}
{{- if $redis.bundled.enabled -}}
{{- if $redis.addresses -}}
{{- fail "redis: bundled.enabled and addresses exclude each other." -}}
{{- end -}}
{{- if or (ne $redis.mode "single") $redis.tls.enabled $redis.username (gt (int $redis.database) 0) -}}
{{- fail "redis: the bundled server is a single one without TLS, users and databases." -}}
{{- end -}}
{{- if not (include "tokencast.redis.secret" .) -}}
{{- fail "redis: the bundled server needs redis.password or redis.existingSecret." -}}
{{- end -}}
{{- else if not $redis.addresses -}}
{{- fail "redis.addresses is empty: name your Redis (HOST:PORT), or set redis.bundled.enabled=true to try tokencast out." -}}
{{- end -}}
{{- if and (eq $redis.mode "single") (gt (len $redis.addresses) 1) -}}
{{- fail "redis.addresses: redis.mode=single takes one address." -}}
{{- end -}}
{{- if and (eq $redis.mode "cluster") (gt (int $redis.database) 0) -}}
{{- fail "redis.database: a cluster has only database 0." -}}
{{- end -}}
{{- if and (eq .Values.worker.provider.name "replay") .Values.worker.provider.upstream -}}
{{- fail "worker.provider: the replay provider has no upstream." -}}
{{- end -}}
{{- if and (ne .Values.worker.provider.name "replay") (not .Values.worker.provider.upstream) -}}
{{- fail (printf "worker.provider.upstream is empty: the provider %s needs the URL of its model server." .Values.worker.provider.name) -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: name the Gateway that streams come through." -}}
{{- end -}}
{{- if gt (int .Values.broker.autoscaling.minReplicas) (int .Values.broker.autoscaling.maxReplicas) -}}
{{- fail "broker.autoscaling: minReplicas is more than maxReplicas." -}}
{{- end -}}
{{- if gt (int .Values.worker.keda.minReplicas) (int .Values.worker.keda.maxReplicas) -}}
{{- fail "worker.keda: minReplicas is more than maxReplicas." -}}
{{- end -}}
{{- end -}}
