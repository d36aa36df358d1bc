# shellcheck shell=bash
# kubeconfig NAME SUBJECT: $run/NAME.kubeconfig, which names its bearer to the API server by a certificate.
kubeconfig() {
  local pki=$run/pki file=$run/$1.kubeconfig
  certificate "$pki" "$1" "$2"
  KUBECONFIG=$file kubectl config set-cluster test --server=https://127.0.0.1:6443 \
    --certificate-authority="$pki/ca.crt" --embed-certs > /dev/null
  KUBECONFIG=$file kubectl config set-credentials "$1" --client-certificate="$pki/$1.crt" \
    --client-key="$pki/$1.key" --embed-certs > /dev/null
  KUBECONFIG=$file kubectl config set-context test --cluster=test --user="$1" > /dev/null
  KUBECONFIG=$file kubectl config use-context test > /dev/null
}
