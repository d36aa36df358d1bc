#!/usr/bin/env bash
# The chart without a cluster: lint, values that must be refused, and what it renders against the schemas of the oldest and the
# newest Kubernetes that it supports.
. "$(dirname "$0")/cache.sh"
for name in helm kubeconform; do
  version=${name}_version
  PATH=$cache/$name-${!version}:$PATH
done
chart=$root/helm/qres
schemas=$cache/schemas-$oldest_kubernetes-$newest_kubernetes-$kubernetes_validate_version-$cert_manager_version-$prometheus_operator_version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The dashboard and the rules are files of the chart; without them the values that use them are not rendered.
skip=()
for file in dashboard.json rules.yaml; do
  [ -f "$chart/files/$file" ] || skip+=("$file")
done

# configuration VALUES: the daemon reads what the chart writes for these values, as the pod number 0 would.
daemon=${CARGO_TARGET_DIR:-$root/target}/image/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')/usr/bin/qres-daemon
configuration() {
  local name
  name=$(basename "$1" .yaml)
  awk '/^  qres.toml: \|/ { on = 1; next } on && /^    / { print substr($0, 5) } on && /^[^ ]/ { exit }' "$work/out.yaml" \
    > "$work/qres.toml"
  if env -i HOME=/ HOSTNAME=release-qres-0 POD_NAME=release-qres-0 POD_IP=192.0.2.1 NODE_IP=192.0.2.2 \
    "$daemon" --config "$work/qres.toml" --check-config > "$work/report" 2>&1; then
    say "$name.yaml: the daemon accepts the configuration of $(grep -c . "$work/qres.toml") settings"
  else
    cat "$work/report" >&2
    die "the daemon refuses the configuration of $name.yaml"
  fi
}

for values in "$chart"/ci/*.yaml; do
  name=$(basename "$values" .yaml)
  extra=()
  if [ "${#skip[@]}" -gt 0 ] && grep -q 'prometheusRule\|dashboard' "$values"; then
    say "NOT RUN: ${skip[*]} of $name.yaml: not in this chart yet"
    extra=(--set metrics.prometheusRule.enabled=false --set metrics.dashboard.enabled=false)
  fi
  helm lint --strict --quiet "$chart" -f "$values" "${extra[@]}"
  for version in "$oldest_kubernetes" "$newest_kubernetes"; do
    helm template release "$chart" --namespace swarm -f "$values" "${extra[@]}" --kube-version "$version.0" > "$work/out.yaml"
    kubeconform -strict -summary -kubernetes-version "$version.0" \
      -schema-location "$schemas/{{ .NormalizedKubernetesVersion }}/{{ .ResourceKind }}{{ .KindSuffix }}.json" \
      -schema-location "$schemas/custom/{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json" \
      "$work/out.yaml" > "$work/report" || { cat "$work/report" >&2; die "$name.yaml is not valid for Kubernetes $version"; }
    say "$name.yaml, Kubernetes $version: $(tail -n 1 "$work/report")"
  done
  configuration "$values"
done

# refused WORDS SETTING...: rendering with these settings fails, and says why.
refused() {
  local words=$1
  shift
  if helm template release "$chart" "${@/#/--set=}" > /dev/null 2> "$work/error"; then
    die "these values should be refused: $*"
  fi
  grep -q -- "$words" "$work/error" || { cat "$work/error" >&2; die "the refusal of $* does not say: $words"; }
}
refused "replicas" replicas=many
refused "conections_max" config.conections_max=10
refused "trainers" config.trainers=0
refused "port" config.port=http
refused "bootstrap" config.bootstrap=one.example
refused "terminationGracePeriodSeconds" terminationGracePeriodSeconds=5
refused "external" external.type=hostPort
refused "loadBalancer.domain" external.type=loadBalancer
refused "without callers" tls.enabled=true,tls.clientCertificates=false
refused "issuerRef.name" tls.enabled=true,tls.certManager.enabled=true
refused "only one of them" tls.enabled=true,tls.certManager.enabled=true,tls.existingSecret=a
refused "trainer.image" trainer.enabled=true
say "values that make no sense are refused in words (12)"
