{{/* The pod, the same in a StatefulSet of one and in a Deployment of many. */}}
{{- define "solomon.pod" -}}
metadata:
  labels:
    {{- include "solomon.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: solomon
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "solomon.serviceAccount" . }}
  automountServiceAccountToken: false
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if and .Values.gpu.enabled .Values.gpu.runtimeClassName }}
  runtimeClassName: {{ .Values.gpu.runtimeClassName }}
  {{- end }}
  # Draining, finishing, handing back (3 s) and writing the index's snapshots, one after the other.
  terminationGracePeriodSeconds: {{ add (ceil .Values.shutdown.drainSeconds) (ceil .Values.shutdown.graceSeconds) (ceil .Values.shutdown.closeSeconds) 3 }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- if eq .Values.model.source "init" }}
  initContainers:
    - name: checkpoint
      image: {{ .Values.model.init.image | quote }}
      {{- with .Values.model.init.command }}
      command:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.model.init.args }}
      args:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        - name: CHECKPOINT
          value: {{ .Values.model.path | quote }}
        {{- with .Values.model.init.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: checkpoint, mountPath: {{ .Values.model.path | quote }}}
        - {name: tmp, mountPath: /tmp}
  {{- end }}
  containers:
    - name: solomon
      image: {{ include "solomon.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      ports:
        - {name: http, containerPort: 8080, protocol: TCP}
      env:
        {{- include "solomon.env" . | nindent 8 }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      # While the model loads, /healthz says yes and /readyz no; the first start may fetch and build the base.
      startupProbe:
        httpGet: {path: /readyz, port: http}
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- $gpu := dict }}
      {{- if .Values.gpu.enabled }}
      {{- $gpu = dict "limits" (dict .Values.gpu.resourceName .Values.gpu.count) }}
      {{- end }}
      resources:
        {{- toYaml (mergeOverwrite (deepCopy (default dict .Values.resources)) $gpu) | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: cache, mountPath: /cache}
        - {name: tmp, mountPath: /tmp}
        {{- if include "solomon.hasKeys" . }}
        - {name: keys, mountPath: {{ include "solomon.keysFolder" . }}, readOnly: true}
        {{- end }}
        {{- if eq .Values.model.source "pvc" }}
        - name: checkpoint
          mountPath: {{ .Values.model.path | quote }}
          readOnly: true
          {{- with .Values.model.pvc.subPath }}
          subPath: {{ . | quote }}
          {{- end }}
        {{- else if eq .Values.model.source "init" }}
        - {name: checkpoint, mountPath: {{ .Values.model.path | quote }}, readOnly: true}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
    {{- if include "solomon.hasKeys" . }}
    # A whole folder, since what is mounted by subPath does not follow the Secret.
    - name: keys
      secret:
        secretName: {{ include "solomon.keysSecret" . }}
        defaultMode: 0440
        items:
          - {key: {{ include "solomon.keysSecretKey" . }}, path: {{ include "solomon.keysSecretKey" . }}}
    {{- end }}
    - name: cache
      {{- if .Values.model.cache.existingClaim }}
      persistentVolumeClaim:
        claimName: {{ .Values.model.cache.existingClaim }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ .Values.model.cache.sizeLimit }}
      {{- end }}
    {{- if eq .Values.model.source "pvc" }}
    - name: checkpoint
      persistentVolumeClaim:
        claimName: {{ .Values.model.pvc.claimName }}
        readOnly: true
    {{- else if eq .Values.model.source "init" }}
    - name: checkpoint
      emptyDir:
        sizeLimit: {{ .Values.model.init.sizeLimit }}
    {{- end }}
    {{- if include "solomon.isMilvus" . }}
    - {name: data, emptyDir: {sizeLimit: 1Gi}}
    {{- else if .Values.store.faiss.volume.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.store.faiss.volume.existingClaim }}
    {{- end }}
  {{- $selector := .Values.nodeSelector }}
  {{- $tolerations := .Values.tolerations }}
  {{- if .Values.gpu.enabled }}
  {{- $selector = merge (deepCopy .Values.gpu.nodeSelector) .Values.nodeSelector }}
  {{- $tolerations = concat .Values.tolerations .Values.gpu.tolerations }}
  {{- end }}
  {{- with $selector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.topologySpread (include "solomon.isMilvus" .) }}
  topologySpreadConstraints:
    {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "solomon.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
{{- end -}}
