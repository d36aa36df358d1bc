{{- define "qres.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the nodes' StatefulSet. Pods get a number behind it, so it is shorter than a name may be. */}}
{{- define "qres.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "qres.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "qres.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of a part of the release, "node" or "bootstrap": the name of its StatefulSet. Takes (list context part). */}}
{{- define "qres.part" -}}
{{- $context := index . 0 -}}
{{- ternary (include "qres.fullname" $context) (printf "%s-bootstrap" (include "qres.fullname" $context)) (eq (index . 1) "node") -}}
{{- end -}}

{{/* The name of a part's headless Service, by which its pods are found. Takes (list context part). */}}
{{- define "qres.mesh" -}}
{{- printf "%s-mesh" (include "qres.part" .) -}}
{{- end -}}

{{- define "qres.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "qres.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "qres.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else -}}
{{- printf "%s-tls" (include "qres.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* Labels by which a part's pods are selected; they never change. Takes (list context part). */}}
{{- define "qres.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "qres.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object of a part. Takes (list context part). */}}
{{- define "qres.labels" -}}
{{- $context := index . 0 -}}
{{ include "qres.selector" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "qres.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}
