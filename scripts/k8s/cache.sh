# shellcheck shell=bash
# Where the test keeps what it builds: below the user's cache directory, one folder for each name and version.
# Source it; it sets `root` (the repository), `cache` and `here` (this folder).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qres-swarm/k8s
# shellcheck source=versions.sh
. "$here/versions.sh"
mkdir -p "$cache"

say() { printf 'k8s: %s\n' "$*"; }
die() { printf 'k8s: %s\n' "$*" >&2; exit 1; }

# cached NAME COMMAND...: runs COMMAND in an empty folder, with the folder for the results as its last argument, unless the
# folder $cache/NAME is there already. The results appear as a whole or not at all.
cached() {
  local name=$1 work started
  shift
  [ ! -d "$cache/$name" ] || return 0
  started=$(date +%s)
  say "building $name (once; log: $cache/$name.log)"
  work=$(mktemp -d "$cache/.building.XXXXXX")
  mkdir -p "$work/source" "$work/result"
  if ! (cd "$work/source" && "$@" "$work/result") > "$cache/$name.log" 2>&1; then
    tail -n 20 "$cache/$name.log" >&2
    rm -rf "$work"
    die "building $name failed"
  fi
  mv "$work/result" "$cache/$name"
  rm -rf "$work"
  say "built $name in $(($(date +%s) - started)) s"
}
