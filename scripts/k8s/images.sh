#!/usr/bin/env bash
# Makes the images of the test and keeps them as archives: the pause image, this version's image under two tags (an upgrade needs
# a second one), and the previous version's image, which a commit names.
. "$(dirname "$0")/cache.sh"
images=$cache/images
mkdir -p "$images"
store=(buildah --storage-driver vfs)

archive() { # IMAGE FILE
  rm -f "$2"
  "${store[@]}" push -q "$1" "docker-archive:$2:$1" > /dev/null
}

build_pause() {
  # The first process of a pod: it waits.
  cat > pause.c << 'END'
#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) {
  signal(SIGTERM, end);
  signal(SIGINT, end);
  for (;;) pause();
}
END
  musl-gcc -static -Os -s -o pause pause.c
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' > Dockerfile
  "${store[@]}" bud --isolation chroot -q -t localhost/pause:1 . > /dev/null
  archive localhost/pause:1 "$images/pause.tar"
}

build_previous() { # OUT: the programs of the previous version
  local commit=$1 out=$2 tree=$PWD/tree
  git -C "$root" worktree add --quiet --detach "$tree" "$commit"
  # The libraries that both versions use are compiled already.
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} "$root/scripts/image/binaries.sh" "$tree" "$architecture" "$out/usr/bin"
  [ ! -d "$tree/helm/qres" ] || cp -a "$tree/helm/qres" "$out/chart"
  git -C "$root" worktree remove --force "$tree"
}

architecture=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
if [ ! -f "$images/pause.tar" ]; then
  work=$(mktemp -d)
  (cd "$work" && build_pause)
  rm -rf "$work"
fi

"$root/scripts/image.sh" localhost/qres-swarm:test
context=$(cd "${CARGO_TARGET_DIR:-$root/target}" && pwd)/image
made=$images/made-of
now=$(cat "$context/$architecture/usr/bin/"* "$root/Dockerfile" | sha256sum)
if [ "$now" != "$(cat "$made" 2> /dev/null)" ]; then
  archive localhost/qres-swarm:test "$images/test.tar"
  # The same programs in another image: a rolling upgrade replaces every pod.
  "${store[@]}" bud --isolation chroot -q --label next=yes --build-arg "TARGETARCH=$architecture" -f "$root/Dockerfile" \
    -t localhost/qres-swarm:next "$context" > /dev/null
  archive localhost/qres-swarm:next "$images/next.tar"
  echo "$now" > "$made"
fi

commit=$(git -C "$root" rev-parse --verify --quiet "$(sed -n 's/^commit = //p' "$root/tests/previous-version")^{commit}") || {
  say "NOT RUN: this clone does not have the commit that tests/previous-version names (a shallow clone?)"
  rm -f "$images/previous.tar"
  exit 0
}
cached "previous-$commit" build_previous "$commit"
if [ "$commit" != "$(cat "$images/previous-of" 2> /dev/null)" ]; then
  mkdir -p "$cache/previous-$commit/context/$architecture/data"
  cp -a "$cache/previous-$commit/usr" "$cache/previous-$commit/context/$architecture/"
  "${store[@]}" bud --isolation chroot -q --build-arg "TARGETARCH=$architecture" -f "$root/Dockerfile" \
    -t localhost/qres-swarm:previous "$cache/previous-$commit/context" > /dev/null
  rm -rf "$cache/previous-$commit/context"
  archive localhost/qres-swarm:previous "$images/previous.tar"
  echo "$commit" > "$images/previous-of"
fi
