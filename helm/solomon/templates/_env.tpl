{{/* The server's settings, each a variable of the environment. */}}
{{- define "solomon.env" -}}
- {name: SOLOMON_HOST, value: "0.0.0.0"}
- {name: SOLOMON_PORT, value: "8080"}
- {name: SOLOMON_DATA_DIR, value: /data}
{{- if not .Values.model.baked }}
- {name: SOLOMON_CACHE_DIR, value: /cache}
{{- end }}
- {name: HF_HOME, value: /cache/huggingface}
- {name: HOME, value: /tmp}
{{- if include "solomon.hasKeys" . }}
- name: SOLOMON_API_KEYS_FILE
  value: {{ printf "%s/%s" (include "solomon.keysFolder" .) (include "solomon.keysSecretKey" .) }}
{{- else }}
- {name: SOLOMON_ALLOW_OPEN, value: "true"}
{{- end }}
{{- with .Values.limits.allowedHosts }}
- name: SOLOMON_ALLOWED_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- if include "solomon.isMilvus" . }}
{{- with .Values.store.milvus }}
- name: SOLOMON_STORE
  value: {{ .uri | quote }}
{{- with .tokenSecret }}
{{- if .name }}
- name: SOLOMON_MILVUS_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
- name: SOLOMON_MILVUS_INDEX
  value: {{ .index | quote }}
- name: SOLOMON_MILVUS_SHARDS
  value: {{ .shards | quote }}
- name: SOLOMON_MILVUS_REPLICAS
  value: {{ .replicas | quote }}
- name: SOLOMON_MILVUS_CONSISTENCY
  value: {{ .consistency | quote }}
{{- end }}
{{- else }}
- {name: SOLOMON_STORE, value: faiss}
- name: SOLOMON_INDEX_KIND
  value: {{ .Values.store.faiss.indexKind | quote }}
- name: SOLOMON_INDEX_RECALL_FLOOR
  value: {{ .Values.store.faiss.recallFloor | quote }}
- name: SOLOMON_INDEX_FLAT_THRESHOLD
  value: {{ .Values.store.faiss.flatThreshold | int | quote }}
{{- end }}
{{- if eq .Values.model.source "hub" }}
- name: SOLOMON_MODEL
  value: {{ .Values.model.hubId | quote }}
{{- else if ne .Values.model.source "bundled" }}
- name: SOLOMON_CHECKPOINT
  value: {{ .Values.model.path | quote }}
{{- end }}
{{- with default (ternary "cuda" "" .Values.gpu.enabled) .Values.model.device }}
- name: SOLOMON_DEVICE
  value: {{ . | quote }}
{{- end }}
- name: SOLOMON_DTYPE
  value: {{ .Values.model.dtype | quote }}
{{- $resources := default dict .Values.resources }}
{{- $limits := default dict $resources.limits }}
{{- $requests := default dict $resources.requests }}
{{- if .Values.model.threads }}
- name: SOLOMON_THREADS
  value: {{ .Values.model.threads | int | quote }}
{{- else if or $limits.cpu $requests.cpu }}
# Kubernetes rounds up to whole cores.
- name: SOLOMON_THREADS
  valueFrom:
    resourceFieldRef:
      containerName: solomon
      resource: {{ ternary "limits.cpu" "requests.cpu" (not (empty $limits.cpu)) }}
      divisor: "1"
{{- end }}
{{- if not (kindIs "invalid" .Values.model.augmentThreshold) }}
- name: SOLOMON_AUGMENT_THRESHOLD
  value: {{ .Values.model.augmentThreshold | quote }}
{{- end }}
- name: SOLOMON_DEMO
  value: {{ .Values.demo | quote }}
- name: SOLOMON_MAX_ITEMS
  value: {{ .Values.limits.maxItems | int | quote }}
- name: SOLOMON_MAX_QUEUE
  value: {{ .Values.limits.maxQueue | int | quote }}
- name: SOLOMON_MAX_BODY_BYTES
  value: {{ .Values.limits.maxBodyBytes | int | quote }}
- name: SOLOMON_MAX_TOTAL_BODY_BYTES
  value: {{ .Values.limits.maxTotalBodyBytes | int | quote }}
- name: SOLOMON_MAX_IMAGE_BYTES
  value: {{ .Values.limits.maxImageBytes | int | quote }}
- name: SOLOMON_REQUEST_TIMEOUT_SECONDS
  value: {{ .Values.limits.requestTimeoutSeconds | quote }}
- name: SOLOMON_INGEST_TIMEOUT_SECONDS
  value: {{ .Values.limits.ingestTimeoutSeconds | quote }}
{{- with .Values.limits.imageUrlHosts }}
- name: SOLOMON_IMAGE_URL_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
- name: SOLOMON_LOG_LEVEL
  value: {{ .Values.logging.level | quote }}
- name: SOLOMON_LOG_FORMAT
  value: {{ .Values.logging.format | quote }}
- name: SOLOMON_LOG_CONTENT
  value: {{ .Values.logging.content | quote }}
{{- with .Values.tracing.endpoint }}
- name: SOLOMON_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: SOLOMON_DRAIN_SECONDS
  value: {{ .Values.shutdown.drainSeconds | quote }}
- name: SOLOMON_GRACE_SECONDS
  value: {{ .Values.shutdown.graceSeconds | quote }}
- name: SOLOMON_KEEP_ALIVE_SECONDS
  value: {{ .Values.shutdown.keepAliveSeconds | int | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
