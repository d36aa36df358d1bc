# shellcheck shell=bash
# From five nodes to eight, and down to three, while the trainers work. The members agree to each change; the model then goes on as a
# successor, to which nodes and trainers move by themselves.

pods_are() { [ "$(kubectl get pods -l app.kubernetes.io/component=node -o name | wc -l)" = "$1" ]; }

peer_ids() { # FIRST LAST: the ids of these nodes, with commas
  local number ids=()
  for number in $(seq "$1" "$2"); do ids+=("$(peer_id "$number")"); done
  (IFS=, && echo "${ids[*]}")
}

shown() { # NUMBER FIELD: a field of the model, as the node shows it
  "$qres" --addr "$(address "$1")" --timeout 5s --json model show "$model" | field model "$2"
}

moved() { [ "$(shown "$1" succeeds)" = "$2" ]; }

# change_members NODES CHANGE IDS: the first of these nodes proposes the change, and as many agree as a quorum needs.
change_members() {
  local number old
  old=$(shown 0 id)
  "$qres" --addr "$(address 0)" --timeout 30s model member "$2" "$model" "$3" > /dev/null
  for number in $(seq 1 $(($1 / 2))); do
    wait_for 60 "node $number agrees" "$qres" --addr "$(address "$number")" --timeout 10s model member accept "$model"
  done
  wait_for 60 "node 0 goes on with the successor" moved 0 "$old"
  named=$model@$(shown 0 id)
}

# at_rest MEMBERS NODES: with all trainers at rest, looks at the heads of the members and at what all nodes acknowledged.
at_rest() {
  quiet "$1"
  nothing_lost "$2"
  resume
}

step_scale() {
  local number old
  deploy "$root/helm/qres" replicas=8
  for number in $(seq 0 7); do wait_for 60 "node $number has seven peers" is_full_mesh "$(address "$number")" 7; done
  at_rest 5 5
  old=$(shown 0 id)
  change_members 5 add "$(peer_ids 5 7)"
  for number in $(seq 1 4); do wait_for 60 "node $number goes on with the successor" moved "$number" "$old"; done
  # The chain of the successor begins with its own first round.
  rm -f "$(work)/chain"
  for number in $(seq 5 7); do train "$number"; done
  rounds_go_on 0
  rounds_go_on 7
  say "  eight nodes, all of them members"
  check 8

  old=$(shown 0 id)
  change_members 8 remove "$(peer_ids 3 7)"
  for number in 1 2; do wait_for 60 "node $number goes on with the successor" moved "$number" "$old"; done
  rm -f "$(work)/chain"
  for number in $(seq 3 7); do stop "trainer-$namespace-$number"; done
  rounds_go_on 0
  # Those that are members no longer answer for the work that they acknowledged.
  at_rest 3 8
  deploy "$root/helm/qres" replicas=3
  wait_for 120 "five pods are gone" pods_are 3
  say "  three nodes"
  check 3
}
