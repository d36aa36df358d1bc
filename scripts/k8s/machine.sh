# shellcheck shell=bash
# The cluster's one machine: its network, containerd, kubelet, kube-proxy and the cluster's DNS.

start_network() {
  ip link set lo up
  ip link add qcni0 type bridge
  ip address add "$bridge_address/24" dev qcni0
  ip link set qcni0 up
  # Addresses of Services are turned into those of pods on their way out, but only if there is a way.
  ip route add 10.96.0.0/24 dev qcni0
  sysctl -q -w net.ipv4.ip_forward=1
  mkdir -p "$run/cni"
  cat > "$run/cni/10-bridge.conflist" << END
{
  "cniVersion": "1.0.0", "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "qcni0", "isGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "$run/ipam", "ranges": [[{"subnet": "${bridge_address%.*}.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
END
}

start_containerd() {
  cat > "$run/containerd.toml" << END
version = 3
root = "$run/containerd"
state = "$run/containerd-state"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$run/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
END
  start containerd containerd --config "$run/containerd.toml"
  wait_for 60 "containerd answers" containers version
}

# load_image FILE: an archive of `buildah push docker-archive:`.
load_image() { containers images import "$1" > /dev/null; }

# containers ARGUMENTS...: containerd's own tool, without its words about the age of this machine's cgroups.
containers() { ctr -a "$run/containerd.sock" -n k8s.io "$@" 2> >(grep -v DEPRECATION >&2); }

start_dns() {
  cat > "$run/Corefile" << END
.:53 {
  bind $bridge_address 127.0.0.1
  kubernetes cluster.local {
    kubeconfig $run/dns.kubeconfig test
    ttl 1
  }
}
END
  start dns coredns -conf "$run/Corefile"
}

start_kubelet() {
  cat > "$run/kubelet.yaml" << END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $bridge_address
authentication: {x509: {clientCAFile: $run/pki/ca.crt}, anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
evictionHard: {}
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix://$run/containerd.sock
clusterDNS: [$bridge_address]
clusterDomain: cluster.local
resolvConf: $run/resolv.conf
podLogsDir: $run/pods
# A test changes Secrets and waits for the change.
syncFrequency: 2s
configMapAndSecretChangeDetectionStrategy: Watch
maxPods: 60
END
  echo "nameserver $bridge_address" > "$run/resolv.conf"
  start kubelet kubelet --config "$run/kubelet.yaml" --kubeconfig "$run/kubelet.kubeconfig" --root-dir "$run/kubelet" \
    --cert-dir "$run/certificates" --hostname-override n1 --node-ip "$bridge_address"
  wait_for 120 "the machine is ready" kubectl wait --for=condition=Ready node/n1 --timeout=1s
}

# The proxy ends when the machine's address changes, so it comes last.
start_proxy() {
  cat > "$run/proxy.yaml" << END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: ${bridge_address%.*}.0/24
conntrack: {maxPerCore: 0, min: 0}
# Pods answer each other over the bridge, where nothing would turn the addresses of a Service back.
iptables: {masqueradeAll: true}
clientConnection: {kubeconfig: $run/proxy.kubeconfig}
hostnameOverride: n1
END
  start proxy kube-proxy --config "$run/proxy.yaml"
}

# volumes NUMBER: so many volumes of the default class, folders of this machine that every user may write to, since the
# platform does not change the owner of such folders.
volumes() {
  local number
  {
    cat << END
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: folders, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
END
    for number in $(seq 1 "$1"); do
      install -d -m 0777 "$run/volumes/$number"
      cat << END
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume-$number}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: folders
  hostPath: {path: $run/volumes/$number, type: Directory}
END
    done
  } | kubectl apply -f - > /dev/null
}
