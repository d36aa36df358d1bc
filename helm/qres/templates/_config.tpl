{{/* Is the API open to other pods? "yes" or "". */}}
{{- define "qres.open" -}}
{{- if .Values.config.grpc_insecure -}}
yes
{{- else if .Values.tls.enabled -}}
{{- if not (or .Values.tls.clientCertificates .Values.callers.existingSecret .Values.config.grpc_client_ca .Values.config.grpc_callers) -}}
{{- fail "tls.enabled without callers: set tls.clientCertificates or callers.existingSecret, so that the API knows who calls, or config.grpc_insecure=true" -}}
{{- end -}}
yes
{{- end -}}
{{- end -}}

{{/* The port of the API in the pod. */}}
{{- define "qres.api.port" -}}
{{- regexFind "[0-9]+$" (default "0.0.0.0:4002" .Values.config.grpc_addr) -}}
{{- end -}}

{{/* Announced addresses of a pod. Takes (list context part external). */}}
{{- define "qres.announce" -}}
{{- $context := index . 0 -}}
{{- $external := index . 2 -}}
{{- $port := int $context.Values.config.port -}}
{{- $hosts := list -}}
{{- if eq $external.type "nodePort" -}}
{{- $port = printf "$(ORDINAL+%d)" (int $external.nodePort.first) -}}
{{- $hosts = list (default "$(NODE_IP)" $external.nodePort.address) -}}
{{- else if eq $external.type "loadBalancer" -}}
{{- $domain := required "external.type=loadBalancer needs external.loadBalancer.domain, by which other nodes find each pod" $external.loadBalancer.domain -}}
{{- $hosts = list (printf "$(POD_NAME).%s" $domain) -}}
{{- end -}}
{{- $addresses := list -}}
{{- range $host := $hosts -}}
{{- $kind := ternary "ip4" (ternary "ip6" "dns" (contains ":" $host)) (or (eq $host "$(NODE_IP)") (regexMatch "^[0-9.]+$" $host)) -}}
{{- $addresses = append $addresses (printf "/%s/%s/tcp/%v" $kind $host $port) -}}
{{- if or (eq $external.type "nodePort") $external.loadBalancer.udp -}}
{{- $addresses = append $addresses (printf "/%s/%s/udp/%v/quic-v1" $kind $host $port) -}}
{{- end -}}
{{- end -}}
{{- toJson $addresses -}}
{{- end -}}

{{/* The daemon's configuration file, TOML. The values' own words win over what the chart sets, lists are added to it. Takes
(list context part external). */}}
{{- define "qres.toml" -}}
{{- $context := index . 0 -}}
{{- $part := index . 1 -}}
{{- $values := $context.Values -}}
{{- $open := include "qres.open" $context -}}
{{- $apiPort := include "qres.api.port" $context -}}
{{- $chart := dict
  "mode" $part
  "data_dir" "/data/qres"
  "bootstrap" (list (printf "%s:%d" (include "qres.mesh" (list $context "node")) (int $values.config.port)))
  "announce" (fromJsonArray (include "qres.announce" .))
  "grpc_addr" (ternary (printf "0.0.0.0:%s" $apiPort) (printf "127.0.0.1:%s" $apiPort) (ne $open ""))
  (include "qres.admin.setting" $context) (printf "0.0.0.0:%s" (include "qres.admin.port" $context))
-}}
{{- if $values.bootstrap.enabled -}}
{{- $name := printf "%s:%d" (include "qres.mesh" (list $context "bootstrap")) (int $values.config.port) -}}
{{- $_ := set $chart "bootstrap" (append $chart.bootstrap $name) -}}
{{- end -}}
{{- if and $values.tls.enabled -}}
{{- $_ := set $chart "grpc_tls_cert" "/etc/qres/tls/tls.crt" -}}
{{- $_ := set $chart "grpc_tls_key" "/etc/qres/tls/tls.key" -}}
{{- if $values.tls.clientCertificates -}}
{{- $_ := set $chart "grpc_client_ca" "/etc/qres/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if $values.callers.existingSecret -}}
{{- $_ := set $chart "grpc_callers" (printf "/etc/qres/callers/%s" $values.callers.key) -}}
{{- end -}}
{{- if $values.networkKey.existingSecret -}}
{{- $_ := set $chart "network_key" (printf "/etc/qres/network/%s" $values.networkKey.key) -}}
{{- end -}}
{{- if and $values.identity.existingSecret (eq $part "node") -}}
{{- $_ := set $chart "identity_file" "/etc/qres/identity/$(POD_NAME)" -}}
{{- end -}}
{{- range $key, $value := $values.config -}}
{{- if kindIs "slice" $value -}}
{{- if and $value (or (eq $part "node") (ne $key "join")) -}}
{{- $_ := set $chart $key (concat (default (list) (index $chart $key)) $value) -}}
{{- end -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $chart $key $value -}}
{{- end -}}
{{- end -}}
{{- if eq $part "bootstrap" -}}
{{- $_ := set $chart "mode" "bootstrap" -}}
{{- end -}}
{{- range $key := keys $chart | sortAlpha }}
{{ $key }} = {{ index $chart $key | toJson }}
{{- end }}
{{- end -}}
