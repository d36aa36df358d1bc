#!/usr/bin/env bash
# The part of the test that needs a cluster. test.sh runs it in namespaces of its own; inside.sh RUN [STEP...]
. "$(dirname "$0")/cache.sh"
run=$1
shift
steps=("$@")
[ "${#steps[@]}" -gt 0 ] || steps=(readme sidecar external install upgrade loss scale credentials previous)
. "$here/cluster.sh"
. "$here/swarm.sh"
skipped=()
not_run() {
  skipped+=("$1")
  say "  NOT RUN: $1"
}
for step in "$here"/steps/*.sh; do
  # shellcheck source=/dev/null
  . "$step"
done

finish() {
  local code=$?
  if [ "$code" != 0 ]; then
    # What a person looks at first.
    kubectl get pods -A -o wide >&2 2> /dev/null || true
    [ -z "${QRES_K8S_KEEP:-}" ] || { say "kept for a look: nsenter -t $$ -a; KUBECONFIG=$run/admin.kubeconfig"; sleep infinity; }
  fi
  stop_cluster || true
  exit "$code"
}
trap finish EXIT

start_cluster
load_image "$cache/images/test.tar"
load_image "$cache/images/next.tar"
passed=0
for step in "${steps[@]}"; do
  say "$step"
  before=${#skipped[@]}
  "step_$step"
  [ "${#skipped[@]}" != "$before" ] || passed=$((passed + 1))
done
say "$passed passed, 0 failed, ${#skipped[@]} skipped"
[ "${#skipped[@]}" = 0 ] || printf 'k8s: NOT RUN: %s\n' "${skipped[@]}"
