# shellcheck shell=bash
# The whole cluster: start_cluster and stop_cluster. Runs in the namespaces that test.sh made: its network, mounts and processes
# belong to this cluster alone and end with it. Needs $run, an empty folder.
for part in certificates kubeconfig wait process control-plane machine; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done
bridge_address=10.244.0.1

for name in kubernetes etcd containerd coredns helm grpcurl; do
  version=${name}_version
  PATH=$cache/$name-${!version}:$PATH
done
export PATH

start_cluster() {
  local started place
  started=$(date +%s)
  # Places that these programs use in spite of their settings. The cluster alone sees these mounts.
  for place in /run /var/log /var/lib/kubelet /var/lib/cni; do
    mkdir -p "$place"
    mount -t tmpfs tmpfs "$place"
  done
  mount --make-rshared /
  start_network
  start_control_plane
  start_containerd
  load_image "$cache/images/pause.tar"
  start_dns
  start_kubelet
  start_proxy
  volumes 48
  # Pods of a namespace cannot start before its account is there.
  wait_for 60 "accounts are made" kubectl -n default get serviceaccount default
  say "Kubernetes $kubernetes_version is ready ($(($(date +%s) - started)) s)"
}

# Pods first: without a kubelet they would run on.
stop_cluster() {
  local name
  kubectl delete namespace --all --field-selector metadata.name!=default --wait=false > /dev/null 2>&1 || true
  kubectl delete statefulsets,pods --all --all-namespaces --grace-period=0 --force --wait=false > /dev/null 2>&1 || true
  wait_for 60 "all containers have ended" no_containers || true
  for name in proxy kubelet dns containerd scheduler controllers apiserver etcd; do stop "$name"; done
}

no_containers() { [ -z "$(containers tasks list -q)" ]; }
