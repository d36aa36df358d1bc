#!/usr/bin/env bash
# Builds the static programs of an image: binaries.sh SOURCE ARCHITECTURE OUT puts qres-daemon and qres into the folder OUT.
# ARCHITECTURE is amd64 or arm64. Needs Rust with rustup, and a C compiler that builds for it.
set -euo pipefail
source=$1 architecture=$2 out=$3

fail() { printf 'image: %s\n' "$*" >&2; exit 1; }
case $architecture in
  amd64)
    target=x86_64-unknown-linux-musl
    compiler=musl-gcc
    strip="strip"
    package=musl-tools
    ;;
  arm64)
    target=aarch64-unknown-linux-musl
    compiler=aarch64-linux-gnu-gcc
    strip="aarch64-linux-gnu-strip"
    package="gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
    # That compiler's headers are glibc's, whose checked functions (__memcpy_chk) musl does not have.
    export CFLAGS_aarch64_unknown_linux_musl="-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0"
    ;;
  *) fail "no image is made for $architecture: amd64 or arm64" ;;
esac
command -v "$compiler" > /dev/null ||
  fail "$compiler is missing, which builds the C parts for $architecture (Debian: apt-get install $package)"
rustup target list --installed | grep -qx "$target" || {
  echo "image: installing Rust's standard library for $target with rustup"
  rustup target add "$target"
}
name=${target//-/_}
# musl-gcc is for C code alone: what it links is dynamic (it does not know -static-pie), and Rust brings musl's own start files.
export "CC_$name=$compiler"
[ "$architecture" = amd64 ] || export "CARGO_TARGET_${name^^}_LINKER=$compiler"
# Debug information would be most of the image. Optimised as a whole the programs are smaller (with thin LTO: 43 MB).
export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
export CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo

# The list of all crates, with their versions, goes into each program (readable with trivy, grype, syft or rust-audit-info).
auditable=$(cd "$(dirname "$0")/../.." && pwd)/.cache/auditable
version=0.7.7
if [ ! -x "$auditable/bin/cargo-auditable" ]; then
  echo "image: installing cargo-auditable $version with cargo install into .cache/auditable"
  cargo install --locked --quiet --root "$auditable" "cargo-auditable@$version"
fi
export PATH=$auditable/bin:$PATH
# The whole workspace, as everywhere: another selection of packages would resolve other features.
target_dir=$(cd "$source" && cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
(cd "$source" && cargo auditable build --locked --release --target "$target" --workspace --bin qres-daemon --bin qres)
mkdir -p "$out"
for program in qres-daemon qres; do
  if readelf -l "$target_dir/$target/release/$program" | grep -q INTERP; then fail "$program needs a loader: it is not static"; fi
  "$strip" -o "$out/$program" "$target_dir/$target/release/$program"
done
