#!/usr/bin/env bash
# Builds, from Go modules, what the test cluster runs and the tools that talk to it. Each one is built once and kept.
. "$(dirname "$0")/cache.sh"
command -v go > /dev/null || die "Go is missing: install Go 1.26 or newer"
# Nothing of the caller's module or workspace may leak into these builds. No C compiler is needed.
export GOWORK=off CGO_ENABLED=0 GOFLAGS="-mod=mod -buildvcs=false"

# A Kubernetes of one version. Its own go.mod names local folders for the modules k8s.io/... (as v0.0.0), which are published
# too, and are required here as they are published.
build_kubernetes() {
  local out=$1 source line name minor packages=()
  source=$(cd / && GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@v$kubernetes_version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
  {
    printf 'module local/kubernetes\n\ngo 1.26.0\n\n'
    sed -n 's|^\s*\(k8s.io/[a-z0-9.-]*\) => ./staging/src/.*|\1|p' "$source" | while read -r name; do
      printf 'exclude %s v0.0.0\nrequire %s v0.%s\n' "$name" "$name" "${kubernetes_version#1.}"
    done
  } > go.mod
  go get "k8s.io/kubernetes@v$kubernetes_version"
  minor=${kubernetes_version#1.}
  line=k8s.io/component-base/version
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    packages+=("k8s.io/kubernetes/cmd/$name")
  done
  go build -trimpath -o "$out/" \
    -ldflags "-s -w -X $line.gitVersion=v$kubernetes_version -X $line.gitMajor=1 -X $line.gitMinor=${minor%%.*}" "${packages[@]}"
}

# module MODULE VERSION OUT FLAGS... -- PACKAGES...: programs of one module, in a module of their own.
module() {
  local module=$1 version=$2 out=$3 flags=()
  shift 3
  while [ "$1" != -- ]; do flags+=("$1"); shift; done
  shift
  printf 'module local/build\n\ngo 1.26.0\n' > go.mod
  go get "$module@v$version"
  go build -trimpath -ldflags "-s -w" "${flags[@]}" -o "$out/" "${@/#/$module}"
}

build_etcd() {
  module go.etcd.io/etcd/server/v3 "$etcd_version" "$1" -- ""
  # The program has the name of its last folder.
  [ -x "$1/etcd" ] || mv "$1"/* "$1/etcd"
}
build_containerd() {
  module github.com/containerd/containerd/v2 "$containerd_version" "$1" -tags "no_btrfs no_zfs no_devmapper" -- \
    /cmd/containerd /cmd/containerd-shim-runc-v2 /cmd/ctr
}
# With `go install` a program has the versions of libraries that its authors tested.
install_go() { GOBIN=$3 go install -trimpath -ldflags "-s -w" "$1@v$2"; }
build_helm() { install_go helm.sh/helm/v4/cmd/helm "$helm_version" "$1"; }
build_coredns() { install_go github.com/coredns/coredns "$coredns_version" "$1"; }
build_grpcurl() { install_go github.com/fullstorydev/grpcurl/cmd/grpcurl "$grpcurl_version" "$1"; }
build_kubeconform() { install_go github.com/yannh/kubeconform/cmd/kubeconform "$kubeconform_version" "$1"; }

for name in helm kubeconform kubernetes etcd containerd coredns grpcurl; do
  version=${name}_version
  cached "$name-${!version}" "build_$name"
done
