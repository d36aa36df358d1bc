# shellcheck shell=bash
# From five nodes to eight, and down to three. A list of members governs who takes part, so each change is a successor of the
# model: same name, the old head as its first checkpoint.

pods_are() { [ "$(kubectl get pods -l app.kubernetes.io/component=node -o name | wc -l)" = "$1" ]; }

# succeed NODES: a successor whose members are the first nodes. They join it, and their trainers go on in it. What is asked of
# the old model is asked before: the new one begins with a ledger and a chain of its own.
succeed() {
  local number members=()
  for number in $(seq 0 $(($1 - 1))); do members+=(--member "$(peer_id "$number")"); done
  quiet_members
  for number in $(seq 0 7); do stop "trainer-$namespace-$number"; done
  rm -f "$(work)/"ledger-* "$(work)/chain"
  named=$model@$("$qres" --addr "$(address 0)" --timeout 60s --json model create "$model" --succeeds "${named#*@}" --deadline 3s \
    "${members[@]}" | field model id)
  for number in $(seq 1 $(($1 - 1))); do
    wait_for 60 "node $number joins the successor" "$qres" --addr "$(address "$number")" --timeout 30s model join "$named"
  done
  resume
  for number in $(seq 0 $(($1 - 1))); do train "$number"; done
  rounds_go_on 0
}

# quiet_members: with all trainers at rest, looks at the members of the model of now.
quiet_members() {
  quiet "$listed"
  nothing_lost "$listed"
}

step_scale() {
  local number listed=5
  deploy "$root/helm/qres" replicas=8
  for number in $(seq 0 7); do wait_for 60 "node $number has seven peers" is_full_mesh "$(address "$number")" 7; done
  succeed 8
  listed=8
  say "  eight nodes, all of them members"
  check 8
  succeed 3
  listed=3
  deploy "$root/helm/qres" replicas=3
  wait_for 120 "five pods are gone" pods_are 3
  say "  three nodes"
  check 3
}
