# shellcheck shell=bash
# A trainer in the pod of each node, with an API that no other pod can reach. The tool `qres` stands for the trainer.

sees_a_peer() { kubectl logs "$release-$1" -c trainer | grep -q connected; }

step_sidecar() {
  local number
  namespace=sidecar
  make_namespace
  deploy "$root/helm/qres" replicas=2 config.grpc_insecure=false api.perPod.enabled=false trainer.enabled=true \
    trainer.image=localhost/qres-swarm:test "trainer.command={/usr/bin/qres}" "trainer.args={watch,peers}"
  for number in 0 1; do wait_for 60 "the trainer of node $number sees the other node" sees_a_peer "$number"; done
  [ -z "$(kubectl get service "$release" --ignore-not-found -o name)" ] || die "the API has a Service, but is closed"
  say "  the trainers reach their nodes in the pod; the API has no Service"
  if has_setting grpc-socket; then
    deploy "$root/helm/qres" config.grpc_socket=/run/qres/qres.sock
    for number in 0 1; do wait_for 60 "the trainer of node $number sees the other node" sees_a_peer "$number"; done
    say "  the same over a Unix socket"
  else
    not_run "the trainer over a Unix socket: the daemon has no --grpc-socket yet"
  fi
  helm uninstall "$release" --namespace "$namespace" --wait > /dev/null
}
