{{/* The daemon's port for operators: the setting that names it, and the paths that kubelet asks. */}}
{{- define "qres.admin.setting" -}}admin_addr{{- end -}}
{{- define "qres.admin.live" -}}/livez{{- end -}}
{{- define "qres.admin.ready" -}}/readyz{{- end -}}

{{/* Its number. */}}
{{- define "qres.admin.port" -}}
{{- $said := index .Values.config (include "qres.admin.setting" .) -}}
{{- ternary (regexFind "[0-9]+$" (default "" $said)) "9464" (not (empty $said)) -}}
{{- end -}}
