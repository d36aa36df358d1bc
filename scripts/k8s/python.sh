#!/usr/bin/env bash
# The Python programs of the test: the project's client, and the schemas of all Kubernetes versions.
. "$(dirname "$0")/cache.sh"
"$root/scripts/tools.sh"
[ -x "$root/.cache/venv/bin/python" ] || die "Python 3 with venv is missing (Debian: apt-get install python3-venv)"

build_schemas() {
  local out=$1 version module folder
  python3 -m venv venv
  venv/bin/pip install --quiet --disable-pip-version-check "kubernetes-validate==$kubernetes_validate_version"
  for version in "$oldest_kubernetes" "$newest_kubernetes"; do
    venv/bin/python "$here/schemas.py" kubernetes "$out/v$version.0" \
      venv/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/"v$version.0-local-strict"
  done
  for module in "github.com/cert-manager/cert-manager@v$cert_manager_version" \
    "github.com/prometheus-operator/prometheus-operator@v$prometheus_operator_version"; do
    folder=$(cd / && GOFLAGS=-mod=mod go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    venv/bin/python "$here/schemas.py" custom "$out/custom" "$folder"
  done
}
cached "schemas-$oldest_kubernetes-$newest_kubernetes-$kubernetes_validate_version-$cert_manager_version-$prometheus_operator_version" build_schemas
