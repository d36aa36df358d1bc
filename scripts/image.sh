#!/usr/bin/env bash
# Builds the image from nothing but this repository: image.sh [TAG]. No base image is pulled.
#
# QRES_IMAGE_ARCHITECTURES (default: this machine's) names the architectures, `amd64 arm64` for both; the second and further
# ones get their name as a suffix of the tag. QRES_IMAGE_BUILDER is buildah, podman or docker; the first that works is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${1:-localhost/qres-swarm:dev}
here=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
read -r -a architectures <<< "${QRES_IMAGE_ARCHITECTURES:-$here}"
# In bytes, as the project promises.
image_max=$((40 * 1000 * 1000))
context=${CARGO_TARGET_DIR:-target}/image

fail() { printf 'image: %s\n' "$*" >&2; exit 1; }
builder=${QRES_IMAGE_BUILDER:-}
for candidate in buildah podman docker; do
  [ -z "$builder" ] || break
  ! "$candidate" info > /dev/null 2>&1 || builder=$candidate
done
[ -n "$builder" ] || fail "none of buildah, podman and docker works here (Debian: apt-get install buildah)"

for architecture in "${architectures[@]}"; do
  tree=$context/$architecture
  rm -rf "$tree"
  scripts/image/binaries.sh . "$architecture" "$tree/usr/bin"
  mkdir -p "$tree/usr/share/doc/qres" "$tree/data"
  cp LICENSE-APACHE LICENSE-MIT "$tree/usr/share/doc/qres/"
  size=$(du -sb "$tree" | cut -f1)
  [ "$size" -lt "$image_max" ] || fail "the programs for $architecture take $size bytes, more than $image_max"
  name=$tag
  [ "$architecture" = "${architectures[0]}" ] || name=$tag-$architecture
  arguments=(--build-arg "TARGETARCH=$architecture" -f Dockerfile -t "$name" "$context")
  case $builder in
    buildah) buildah --storage-driver vfs bud --isolation chroot --arch "$architecture" "${arguments[@]}" > /dev/null ;;
    podman) podman build --platform "linux/$architecture" "${arguments[@]}" > /dev/null ;;
    docker) docker build --platform "linux/$architecture" "${arguments[@]}" > /dev/null ;;
    *) fail "QRES_IMAGE_BUILDER is $builder: buildah, podman or docker" ;;
  esac
  printf 'image: %s (%s) %d.%d MB, built with %s\n' "$name" "$architecture" $((size / 1000000)) $((size / 100000 % 10)) "$builder"
done
