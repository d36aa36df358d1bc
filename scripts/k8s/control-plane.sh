# shellcheck shell=bash
# etcd, the API server, the controllers and the scheduler, on this machine alone.

start_control_plane() {
  local pki=$run/pki name
  authority "$pki" kubernetes
  certificate "$pki" apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$bridge_address,IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  openssl genrsa -out "$pki/accounts.key" 2048 2> /dev/null
  openssl rsa -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub" 2> /dev/null
  kubeconfig admin /O=system:masters/CN=admin
  kubeconfig controllers /O=system:masters/CN=controllers
  kubeconfig scheduler /O=system:masters/CN=scheduler
  kubeconfig proxy /O=system:masters/CN=proxy
  kubeconfig dns /O=system:masters/CN=dns
  kubeconfig kubelet /O=system:nodes/CN=system:node:n1
  export KUBECONFIG=$run/admin.kubeconfig

  start etcd etcd --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
  start apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 \
    --advertise-address="$bridge_address" --client-ca-file="$pki/ca.crt" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --cert-dir="$run/certificates" \
    --service-account-key-file="$pki/accounts.pub" --service-account-signing-key-file="$pki/accounts.key" \
    --service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC \
    --service-cluster-ip-range=10.96.0.0/24 --allow-privileged --endpoint-reconciler-type=none \
    --kubelet-preferred-address-types=InternalIP --kubelet-client-certificate="$pki/admin.crt" \
    --kubelet-client-key="$pki/admin.key"
  wait_for 120 "the API server is ready" kubectl get --raw /readyz
  start controllers kube-controller-manager --kubeconfig="$run/controllers.kubeconfig" \
    --service-account-private-key-file="$pki/accounts.key" --root-ca-file="$pki/ca.crt" --leader-elect=false \
    --use-service-account-credentials=false --bind-address=127.0.0.1 --cert-dir="$run/certificates"
  start scheduler kube-scheduler --kubeconfig="$run/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 \
    --cert-dir="$run/certificates"
  # The test's only machine may read Secrets and claims as any kubelet may, and more: nothing here is a production cluster.
  kubectl create clusterrolebinding kubelet --clusterrole=cluster-admin --user=system:node:n1 > /dev/null
  for name in etcd apiserver controllers scheduler; do running "$name" || die "$name ended: see $run/log/$name.log"; done
}
