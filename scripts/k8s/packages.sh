#!/usr/bin/env bash
# Installs what the test cluster takes from the system, and says so.
. "$(dirname "$0")/cache.sh"
missing=()
need() { # COMMAND OR FILE, PACKAGE
  if ! command -v "$1" > /dev/null && [ ! -e "$1" ]; then missing+=("$2"); fi
}
need runc runc
need /usr/lib/cni/bridge containernetworking-plugins
need conntrack conntrack
need iptables iptables
need ip iproute2
need unshare util-linux
need openssl openssl
need buildah buildah
need musl-gcc musl-tools
[ "${#missing[@]}" -gt 0 ] || exit 0
command -v apt-get > /dev/null || die "missing here: ${missing[*]} (Debian's names of the packages)"
say "installing with apt-get: ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
