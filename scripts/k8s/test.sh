#!/usr/bin/env bash
# `make k8s-test`: the chart and the image on a real Kubernetes, which is built here from Go modules and kept in the user's cache.
# test.sh [STEP...] runs some of the steps. readme, sidecar, external, install and previous stand alone; upgrade,
# loss, scale and credentials follow install, in this order.
#
# Needs root: containers, mounts and networks are made. All of it happens in namespaces of its own, for network, mounts and
# processes, so that nothing of it is left when the test ends. Packages, Go modules and images stay, in the cache.
. "$(dirname "$0")/cache.sh"
[ "$(id -u)" = 0 ] || die "this test makes containers, mounts and networks: run it as root"
"$here/packages.sh"
"$here/components.sh"
"$here/python.sh"
"$here/images.sh"
"$here/chart.sh"

# A short path: sockets below it may have 108 bytes.
run=$(mktemp -d /tmp/qres-k8s.XXXXXX)
say "logs: $run/log"
code=0
unshare --net --mount --pid --fork --kill-child --mount-proc -- "$here/inside.sh" "$run" "$@" || code=$?
if [ "$code" != 0 ] || [ -n "${QRES_K8S_LOGS:-}" ]; then
  mkdir -p "$cache/log"
  rm -rf "$cache/log/last"
  cp -a "$run/log" "$cache/log/last" 2> /dev/null || true
  say "the logs are in $cache/log/last"
fi
# Groups of processes are the one thing that no namespace takes away.
find /sys/fs/cgroup -depth -type d -path '*/k8s.io/*' -exec rmdir {} + 2> /dev/null || true
find /sys/fs/cgroup -depth -type d -name k8s.io -exec rmdir {} + 2> /dev/null || true
# Mounts were over these; they are empty unless the machine uses them itself.
rmdir /var/lib/kubelet /var/lib/cni 2> /dev/null || true
rm -rf "$run"
exit "$code"
