{{/* What every container of the pods may do: nothing. */}}
{{- define "qres.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "qres.pod.security" -}}
runAsNonRoot: true
runAsUser: {{ .Values.user }}
runAsGroup: {{ .Values.user }}
fsGroup: {{ .Values.user }}
# Without it every mount would give the group rights to all files, and the daemon would take them away again.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "qres.probe" -}}
httpGet:
  path: {{ . }}
  port: admin
{{- end -}}

{{/* The daemon's container. Takes (list context part resources). */}}
{{- define "qres.daemon" -}}
{{- $context := index . 0 -}}
{{- $part := index . 1 -}}
{{- $values := $context.Values -}}
name: daemon
image: {{ include "qres.image" $context | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: [--config, /etc/qres/config/qres.toml]
env:
  # Templates in the configuration take their values from here.
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  - name: NODE_IP
    valueFrom: {fieldRef: {fieldPath: status.hostIP}}
  {{- with $values.telemetry.endpoint }}
  - name: OTEL_EXPORTER_OTLP_ENDPOINT
    value: {{ . | quote }}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: mesh-tcp, containerPort: {{ $values.config.port }}, protocol: TCP}
  - {name: mesh-udp, containerPort: {{ $values.config.port }}, protocol: UDP}
  - {name: grpc, containerPort: {{ include "qres.api.port" $context }}, protocol: TCP}
  - {name: admin, containerPort: {{ include "qres.admin.port" $context }}, protocol: TCP}
startupProbe:
  {{- include "qres.probe" (include "qres.admin.live" $context) | nindent 2 }}
  periodSeconds: 1
  # A large store may take a while to open.
  failureThreshold: 300
livenessProbe:
  {{- include "qres.probe" (include "qres.admin.live" $context) | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  {{- include "qres.probe" (include "qres.admin.ready" $context) | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
resources:
  {{- toYaml (index . 2) | nindent 2 }}
securityContext:
  {{- include "qres.container.security" $context | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: config, mountPath: /etc/qres/config, readOnly: true}
  - {name: run, mountPath: /run/qres}
  {{- if $values.tls.enabled }}
  - {name: tls, mountPath: /etc/qres/tls, readOnly: true}
  {{- end }}
  {{- if $values.callers.existingSecret }}
  - {name: callers, mountPath: /etc/qres/callers, readOnly: true}
  {{- end }}
  {{- if $values.networkKey.existingSecret }}
  - {name: network-key, mountPath: /etc/qres/network, readOnly: true}
  {{- end }}
  {{- if and $values.identity.existingSecret (eq $part "node") }}
  - {name: identity, mountPath: /etc/qres/identity, readOnly: true}
  {{- end }}
{{- end -}}

{{/* A trainer's container in the pod. */}}
{{- define "qres.trainer" -}}
name: trainer
image: {{ required "trainer.enabled needs trainer.image" .Values.trainer.image | quote }}
{{- with .Values.trainer.command }}
command: {{ toJson . }}
{{- end }}
{{- with .Values.trainer.args }}
args: {{ toJson . }}
{{- end }}
env:
  - name: QRES_ADDR
    value: {{ ternary (printf "unix:%s" (default "" .Values.config.grpc_socket)) (printf "127.0.0.1:%s" (include "qres.api.port" .)) (not (empty .Values.config.grpc_socket)) | quote }}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- with .Values.trainer.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.trainer.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.trainer.resources | nindent 2 }}
securityContext:
  {{- include "qres.container.security" . | nindent 2 }}
volumeMounts:
  - {name: run, mountPath: /run/qres}
  {{- with .Values.trainer.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The pods of a part. Takes (list context part external resources). */}}
{{- define "qres.pod" -}}
{{- $context := index . 0 -}}
{{- $part := index . 1 -}}
{{- $values := $context.Values -}}
{{- $where := list $context $part -}}
metadata:
  labels:
    {{- include "qres.labels" $where | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The daemon reads its configuration at the start, so new settings mean new pods. Secrets are read again while it runs.
    checksum/config: {{ include "qres.toml" (list $context $part (index . 2)) | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "qres.serviceAccount" $context }}
  automountServiceAccountToken: false
  # The variables of service links look like settings of the daemon.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "qres.pod.security" $context | nindent 4 }}
  containers:
    -
      {{- include "qres.daemon" (list $context $part (index . 3)) | nindent 6 }}
    {{- if eq $part "node" }}
    {{- if $values.trainer.enabled }}
    -
      {{- include "qres.trainer" $context | nindent 6 }}
    {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "qres.part" $where }}}
    - name: run
      emptyDir: {}
    {{- if $values.tls.enabled }}
    - name: tls
      secret: {secretName: {{ include "qres.tlsSecret" $context }}, defaultMode: 0440}
    {{- end }}
    {{- if $values.callers.existingSecret }}
    - name: callers
      secret: {secretName: {{ $values.callers.existingSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if $values.networkKey.existingSecret }}
    - name: network-key
      secret: {secretName: {{ $values.networkKey.existingSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if and $values.identity.existingSecret (eq $part "node") }}
    - name: identity
      secret: {secretName: {{ $values.identity.existingSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if eq $part "node" }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "qres.selector" $where | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
