# shellcheck shell=bash
# A rolling upgrade to another image under load, and the way back.

all_run() { # IMAGE TAG
  local tags
  tags=$(kubectl get pods -l app.kubernetes.io/component=node -o jsonpath='{range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sort -u)
  [ "$tags" = "localhost/qres-swarm:$1" ] || { echo "the pods run: $tags"; return 1; }
}

step_upgrade() {
  local before started
  before=$(round_of "$(address 0)") started=$(date +%s)
  deploy "$root/helm/qres" image.tag=next
  all_run next
  say "  upgraded while the trainers went on: $(($(round_of "$(address 0)") - before)) rounds in $(($(date +%s) - started)) s"
  check 5
  before=$(round_of "$(address 0)") started=$(date +%s)
  helm rollback "$release" --namespace "$namespace" --wait --timeout 5m > "$run/log/helm.log" 2>&1
  all_run test
  say "  rolled back: $(($(round_of "$(address 0)") - before)) rounds in $(($(date +%s) - started)) s"
  check 5
}
