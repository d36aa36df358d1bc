{{/* A StatefulSet of nodes with stable names and volumes. Takes (list context part replicas external persistence resources). */}}
{{- define "qres.statefulset" -}}
{{- $context := index . 0 -}}
{{- $part := index . 1 -}}
{{- $persistence := index . 4 -}}
{{- $where := list $context $part -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "qres.part" $where }}
  labels:
    {{- include "qres.labels" $where | nindent 4 }}
spec:
  serviceName: {{ include "qres.mesh" $where }}
  replicas: {{ index . 2 }}
  # Nodes need no order among each other: all start at once. An upgrade still replaces one at a time.
  podManagementPolicy: Parallel
  updateStrategy:
    {{- toYaml $context.Values.updateStrategy | nindent 4 }}
  # A node that has just come back gets time to meet the others before the next one goes.
  minReadySeconds: 5
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: {{ $context.Values.persistence.whenDeleted }}
    whenScaled: {{ $context.Values.persistence.whenScaled }}
  selector:
    matchLabels:
      {{- include "qres.selector" $where | nindent 6 }}
  template:
    {{- include "qres.pod" (list $context $part (index . 3) (index . 5)) | nindent 4 }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "qres.selector" $where | nindent 10 }}
        {{- with $context.Values.persistence.annotations }}
        annotations:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: {{ toJson $context.Values.persistence.accessModes }}
        {{- with $context.Values.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ $persistence.size }}
{{- end -}}
