# shellcheck shell=bash
# A node outside of the cluster finds the nodes inside by a bootstrap node's port, and learns the address of each pod.

names_addresses() {
  local peers
  peers=$(grpcurl -plaintext 127.0.0.1:4902 qres.v1.PeerService/ListPeers)
  grep -q "/ip4/$bridge_address/tcp/31400" <<< "$peers" && grep -q "/ip4/$bridge_address/udp/31401/quic-v1" <<< "$peers"
}

step_external() {
  namespace=external
  make_namespace
  deploy "$root/helm/qres" replicas=2 external.type=nodePort external.nodePort.first=31400 \
    bootstrap.enabled=true bootstrap.replicas=1 bootstrap.external.type=nodePort bootstrap.external.nodePort.first=31450
  start outside "${qres%/qres}/qres-daemon" --data-dir "$run/outside" --port 0 --grpc-addr 127.0.0.1:4902 \
    --bootstrap "$bridge_address:31450"
  wait_for 60 "the node outside answers" "$qres" --addr 127.0.0.1:4902 status
  "$qres" --addr 127.0.0.1:4902 --timeout 60s peers list --at-least 3 > /dev/null
  wait_for 60 "each pod names its own port" names_addresses
  say "  a node outside has three peers, and knows the port of each pod"
  stop outside
  helm uninstall "$release" --namespace "$namespace" --wait > /dev/null
}
