# shellcheck shell=bash
# Five nodes that find each other with no address typed in; trainers outside make rounds through Services; `helm test`.

# All nodes have one another.
is_full_mesh() {
  local connected
  connected=$(grpcurl -plaintext "$1" qres.v1.PeerService/ListPeers | grep -c '"PEER_STATE_CONNECTED"')
  [ "$connected" = "$2" ] || { echo "$connected of $2 peers are connected"; return 1; }
}

step_install() {
  local number keys=$run/keys started
  namespace=swarm
  make_namespace
  # The keys of the nodes, as an administrator makes and keeps them.
  mkdir -p "$keys"
  for number in $(seq 0 7); do head -c 32 /dev/urandom > "$keys/qres-$number"; done
  kubectl create secret generic identities --from-file="$keys" > /dev/null
  started=$(date +%s)
  deploy "$root/helm/qres" identity.existingSecret=identities
  say "  helm install --wait of five nodes: $(($(date +%s) - started)) s, in a namespace that enforces restricted pods"
  for number in $(seq 0 4); do
    wait_for 60 "node $number has four peers" is_full_mesh "$(address "$number")" 4
  done
  say "  grpcurl lists four connected peers at each of the five nodes"
  is_full_mesh "$(kubectl get service "$release" -o jsonpath='{.spec.clusterIP}'):4002" 4
  say "  grpcurl reaches a node by the Service of all"
  helm test "$release" --namespace "$namespace" > "$run/log/helm-test.log" 2>&1 || {
    cat "$run/log/helm-test.log" >&2
    return 1
  }
  say "  helm test: passed"
  # shellcheck disable=SC2046
  named=$(python "$here/model.py" "$model" $(addresses 5))
  for number in $(seq 0 4); do train "$number"; done
  rounds_go_on 0
  check 5
}
