#!/usr/bin/env bash
# The Python programs of the test: the project's client, and the schemas of all Kubernetes versions.
. "$(dirname "$0")/cache.sh"
"$root/scripts/tools.sh"
[ -x "$root/.cache/venv/bin/python" ] || die "Python 3 with venv is missing (Debian: apt-get install python3-venv)"

build_schemas() {
  local out=$1 module folder
  python3 -m venv venv
  venv/bin/pip install --quiet --disable-pip-version-check "kubernetes-validate==$kubernetes_validate_version"
  cp -a venv/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema "$out/kubernetes"
  for module in "github.com/cert-manager/cert-manager@v$cert_manager_version" \
    "github.com/prometheus-operator/prometheus-operator@v$prometheus_operator_version"; do
    folder=$(cd / && GOFLAGS=-mod=mod go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    venv/bin/python "$here/schemas.py" "$out/custom" "$folder"
  done
}
cached "schemas-$kubernetes_validate_version-$cert_manager_version-$prometheus_operator_version" build_schemas
