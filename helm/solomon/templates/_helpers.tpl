{{/* The name of the application, and of everything that belongs to this release. */}}
{{- define "solomon.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "solomon.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "solomon.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "solomon.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "solomon.selector" -}}
app.kubernetes.io/name: {{ include "solomon.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "solomon.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "solomon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "solomon.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "solomon.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "solomon.image" -}}
{{- $tag := default (printf "%s-%s" .Chart.AppVersion (ternary "cuda" "cpu" .Values.gpu.enabled)) .Values.image.tag -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}

{{/* "true" where API keys are checked, "" where not. */}}
{{- define "solomon.hasKeys" -}}
{{- if or .Values.auth.existingSecret .Values.auth.keys -}}true{{- end -}}
{{- end -}}

{{- define "solomon.keysSecret" -}}
{{- default (printf "%s-api-keys" (include "solomon.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "solomon.keysSecretKey" -}}
{{- if .Values.auth.existingSecret -}}{{ .Values.auth.existingSecretKey }}{{- else -}}api-keys{{- end -}}
{{- end -}}

{{- define "solomon.keysFolder" -}}/etc/solomon/keys{{- end -}}

{{/* The lines of auth.keys as a key file has them: a plain key becomes its hash, with every scope. */}}
{{- define "solomon.keyLines" -}}
{{- range .Values.auth.keys }}
{{ if hasPrefix "sha256:" . }}{{ . }}{{ else }}{{ printf "sha256:%s scopes=all" (sha256sum .) }}{{ end }}
{{- end }}
{{- end -}}

{{- define "solomon.isMilvus" -}}
{{- if eq .Values.store.kind "milvus" -}}true{{- end -}}
{{- end -}}

{{/* The port of a URL, "" if it names none. */}}
{{- define "solomon.port" -}}
{{- regexFind ":[0-9]+$" (get (urlParse .) "host") | trimPrefix ":" -}}
{{- end -}}

{{/* The ports on which the values let the pod call out, a JSON list: Milvus, traces, what is fetched by https. */}}
{{- define "solomon.egressPorts" -}}
{{- $ports := list -}}
{{- if include "solomon.isMilvus" . -}}
{{- $ports = append $ports (include "solomon.port" .Values.store.milvus.uri | default (ternary "443" "19530" (hasPrefix "https:" .Values.store.milvus.uri)) | int) -}}
{{- end -}}
{{- with .Values.tracing.endpoint -}}
{{- $ports = append $ports (include "solomon.port" . | default (ternary "443" "80" (hasPrefix "https:" .)) | int) -}}
{{- end -}}
{{- if or .Values.limits.imageUrlHosts (has .Values.model.source (list "hub" "init")) (not .Values.model.baked) -}}
{{- $ports = append $ports 443 -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* What no schema can say: values that only make sense together; all that is wrong is told at once. */}}
{{- define "solomon.check" -}}
{{- $wrong := list -}}
{{- if and (include "solomon.isMilvus" .) (not .Values.store.milvus.uri) -}}
{{- $wrong = append $wrong "store.kind is milvus: name its address in store.milvus.uri, such as http://milvus:19530" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (include "solomon.isMilvus" .)) -}}
{{- $wrong = append $wrong "autoscaling needs store.kind=milvus: with faiss the collections are on the volume of one pod" -}}
{{- end -}}
{{- if not (or (include "solomon.hasKeys" .) .Values.auth.allowOpen) -}}
{{- $wrong = append $wrong "no API keys: name a Secret in auth.existingSecret, give auth.keys, or set auth.allowOpen=true where something in front checks callers" -}}
{{- end -}}
{{- if and .Values.auth.existingSecret .Values.auth.keys -}}
{{- $wrong = append $wrong "give either auth.existingSecret or auth.keys, not both" -}}
{{- end -}}
{{- if and (eq .Values.model.source "hub") (not .Values.model.hubId) -}}
{{- $wrong = append $wrong "model.source is hub: name the model in model.hubId" -}}
{{- end -}}
{{- if and (eq .Values.model.source "pvc") (not .Values.model.pvc.claimName) -}}
{{- $wrong = append $wrong "model.source is pvc: name the claim that holds the checkpoint in model.pvc.claimName" -}}
{{- end -}}
{{- if and (eq .Values.model.source "init") (not .Values.model.init.image) -}}
{{- $wrong = append $wrong "model.source is init: name the image that fetches the checkpoint in model.init.image" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $wrong = append $wrong "ingress.enabled: name at least one host in ingress.hosts" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled (include "solomon.hasKeys" .) (not .Values.monitoring.serviceMonitor.keySecret.name) -}}
{{- $wrong = append $wrong "Prometheus needs a key as well: name a Secret that holds a single one in monitoring.serviceMonitor.keySecret" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.limits.allowedHosts -}}
{{- $wrong = append $wrong "Prometheus calls pods by their addresses, which limits.allowedHosts refuses: leave it empty and let the ingress check names" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.networkPolicy.enabled .Values.networkPolicy.ingressFrom (not .Values.networkPolicy.metricsFrom) -}}
{{- $wrong = append $wrong "networkPolicy.ingressFrom keeps Prometheus out: name where it runs in networkPolicy.metricsFrom" -}}
{{- end -}}
{{- if lt (int .Values.limits.maxQueue) (int .Values.limits.maxItems) -}}
{{- $wrong = append $wrong "limits.maxQueue is below limits.maxItems: a full call could never be accepted" -}}
{{- end -}}
{{- if lt (int .Values.limits.maxTotalBodyBytes) (int .Values.limits.maxBodyBytes) -}}
{{- $wrong = append $wrong "limits.maxTotalBodyBytes is below limits.maxBodyBytes: the largest body could never be accepted" -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- $wrong = append $wrong "autoscaling.minReplicas is above autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (not (include "solomon.isMilvus" .)) (gt (int (default 1 .Values.replicas)) 1) -}}
{{- $wrong = append $wrong "replicas needs store.kind=milvus: with faiss the collections are on the volume of one pod" -}}
{{- end -}}
{{- $resources := default dict .Values.resources -}}
{{- $requests := default dict $resources.requests -}}
{{- $limits := default dict $resources.limits -}}
{{- if and (eq .Values.model.source "hub") (eq (toString $requests.memory) "3Gi") -}}
{{- $wrong = append $wrong "resources.requests.memory is still that of the bundled model: set it and resources.limits.memory for the model of the hub (about 8Gi and 12Gi for Qwen2-VL-2B, 24Gi and 32Gi for 7B)" -}}
{{- else if and (eq .Values.model.source "hub") (eq (toString $limits.memory) "6Gi") (ne (toString $requests.memory) "6Gi") -}}
{{- $wrong = append $wrong "resources.limits.memory is still that of the bundled model: set it for the model of the hub (about 12Gi for Qwen2-VL-2B, 32Gi for 7B)" -}}
{{- end -}}
{{- $keys := list "SOLOMON_API_KEYS" "SOLOMON_API_KEYS_FILE" "SOLOMON_ALLOW_OPEN" -}}
{{- /* All names in _env.tpl, which tests compare: what one shape leaves unset is not for extraEnv either. */ -}}
{{- $own := list "HF_HOME" "HOME" "SOLOMON_ALLOWED_HOSTS" "SOLOMON_AUGMENT_THRESHOLD" "SOLOMON_CACHE_DIR" "SOLOMON_CHECKPOINT" "SOLOMON_DATA_DIR" "SOLOMON_DEMO" "SOLOMON_DEVICE" "SOLOMON_DRAIN_SECONDS" "SOLOMON_DTYPE" "SOLOMON_GRACE_SECONDS" "SOLOMON_HOST" "SOLOMON_IMAGE_URL_HOSTS" "SOLOMON_INDEX_FLAT_THRESHOLD" "SOLOMON_INDEX_KIND" "SOLOMON_INDEX_RECALL_FLOOR" "SOLOMON_INGEST_TIMEOUT_SECONDS" "SOLOMON_KEEP_ALIVE_SECONDS" "SOLOMON_LOG_CONTENT" "SOLOMON_LOG_FORMAT" "SOLOMON_LOG_LEVEL" "SOLOMON_MAX_BODY_BYTES" "SOLOMON_MAX_IMAGE_BYTES" "SOLOMON_MAX_ITEMS" "SOLOMON_MAX_QUEUE" "SOLOMON_MAX_TOTAL_BODY_BYTES" "SOLOMON_MILVUS_CONSISTENCY" "SOLOMON_MILVUS_INDEX" "SOLOMON_MILVUS_REPLICAS" "SOLOMON_MILVUS_SHARDS" "SOLOMON_MILVUS_TOKEN" "SOLOMON_MODEL" "SOLOMON_OTLP_ENDPOINT" "SOLOMON_PORT" "SOLOMON_REQUEST_TIMEOUT_SECONDS" "SOLOMON_STORE" "SOLOMON_THREADS" -}}
{{- range .Values.extraEnv -}}
{{- if has .name $keys -}}
{{- $wrong = append $wrong (printf "extraEnv has %s: give keys in auth.keys or auth.existingSecret" .name) -}}
{{- else if has .name $own -}}
{{- $wrong = append $wrong (printf "extraEnv has %s, which the chart sets itself, by the value that README.md names where there is one" .name) -}}
{{- end -}}
{{- end -}}
{{- with $wrong -}}
{{- fail (printf "\n- %s" (join "\n- " .)) -}}
{{- end -}}
{{- end -}}
