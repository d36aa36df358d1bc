# shellcheck shell=bash
# From five nodes to eight, and down to three of the five members.

step_scale() {
  local number
  deploy "$root/helm/qres" replicas=8
  for number in 5 6 7; do
    wait_for 60 "node $number has seven peers" is_full_mesh "$(address "$number")" 7
    wait_for 60 "node $number follows the model" "$qres" --addr "$(address "$number")" --timeout 30s model join "$named"
  done
  say "  eight nodes; the new ones follow the model"
  check 8
  quiet 8
  nothing_lost 8
  for number in 3 4; do
    stop "trainer-$namespace-$number"
    rm -f "$(work)/ledger-$number"
  done
  deploy "$root/helm/qres" replicas=3
  wait_for 120 "five pods are gone" pods_are 3
  say "  three nodes, which are the quorum of the five members"
  resume
  rounds_go_on 0
  check 3
}

pods_are() { [ "$(kubectl get pods -l app.kubernetes.io/component=node -o name | wc -l)" = "$1" ]; }
