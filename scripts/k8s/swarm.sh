# shellcheck shell=bash
# The swarm under test: a release of the chart in $namespace, with trainers of this machine, outside of the cluster's pods.
# A step names $namespace before it calls anything here.
release=qres
model=digits
qres=${CARGO_TARGET_DIR:-$root/target}/image/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')/usr/bin/qres
# gRPC libraries would ask a proxy for the cluster's addresses, too.
export no_proxy='*' PYTHONPATH=$root/clients/python PYTHONDONTWRITEBYTECODE=1

python() { "$root/.cache/venv/bin/python" "$@"; }
work() { mkdir -p "$run/$namespace" && printf '%s' "$run/$namespace"; }

make_namespace() {
  kubectl create namespace "$namespace" > /dev/null
  kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted > /dev/null
  kubectl config set-context --current --namespace "$namespace" > /dev/null
}

# deploy CHART SETTING...: installs or upgrades, and waits until all pods are ready. What was set before stays set.
deploy() {
  local chart=$1
  shift
  helm upgrade --install "$release" "$chart" --namespace "$namespace" --reset-then-reuse-values \
    --values "$here/values.yaml" --wait --timeout 5m "${@/#/--set=}" > "$run/log/helm.log" 2>&1 || {
    cat "$run/log/helm.log" >&2
    kubectl get pods -o wide >&2
    return 1
  }
}

# address NUMBER: the API of one node, by the Service of its own.
address() { echo "$(kubectl get service "$release-$1-api" -o jsonpath='{.spec.clusterIP}'):4002"; }

# addresses NUMBER: those of the first nodes.
addresses() {
  local number
  for number in $(seq 0 $(($1 - 1))); do address "$number"; done
}

# round_of ADDRESS: the round of a node's head. A pod that is ready may take a moment to be reached by its Service.
round_of() {
  wait_for 60 "$1 answers" "$qres" --addr "$1" --timeout 5s status
  "$qres" --addr "$1" --timeout 5s --json model show "$model" | field model head round
}

# field NAME...: a field of the JSON on the standard input.
field() { python -c 'import functools, json, sys; print(functools.reduce(lambda at, name: at[name], sys.argv[1:], json.load(sys.stdin)))' "$@"; }

has_round() { [ "$(round_of "$1")" -ge "$2" ]; }

# rounds_go_on NODE: waits for ten more rounds.
rounds_go_on() {
  local at
  at=$(address "$1")
  wait_for 120 "rounds go on at node $1" has_round "$at" $(($(round_of "$at") + 10))
}

# train NUMBER: starts the trainer of a node. It joins the model by its id: a name alone is anyone's to give.
train() {
  start "trainer-$namespace-$1" "$root/.cache/venv/bin/python" "$here/trainer.py" "$(address "$1")" "$named" \
    "$(work)/ledger-$1" "$(work)/pause"
}

# quiet NODES: lets the trainers rest and waits until all heads are equal; says at which round.
quiet() {
  local at
  touch "$(work)/pause"
  # shellcheck disable=SC2046
  at=$(python "$here/heads.py" "$model" 120 $(addresses "$1"))
  say "  all $1 heads are equal, at round $at"
}

# resume: lets the trainers go on.
resume() { rm -f "$(work)/pause"; }

# nothing_lost NODES: with the trainers at rest, asks for each acknowledged submission, and looks at the chain of rounds.
nothing_lost() {
  local number
  for number in $(seq 0 $(($1 - 1))); do
    [ -s "$(work)/ledger-$number" ] || continue
    say "  node $number: $(python "$here/ledger.py" "$(address "$number")" "$(work)/ledger-$number")"
  done
  say "  $(python "$here/chain.py" "$(address 0)" "$model" "$(work)/chain")"
}

# check NODES: the state after a step: equal heads, nothing lost; then the rounds go on.
check() {
  quiet "$1"
  nothing_lost "$1"
  resume
  rounds_go_on 0
}
