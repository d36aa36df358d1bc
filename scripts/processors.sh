#!/usr/bin/env bash
# Runs the tests that pin bits on other processors: x86-64 without AVX, with AVX2, and aarch64, by qemu. The same digests must
# come out everywhere. Nodes of one model may run on any of them.
set -euo pipefail
cd "$(dirname "$0")/.."
# The bits of records, coded updates, aggregates by every rule, and states of optimisers.
tests=(--test golden --test arithmetic --test rules)

fail() { printf 'processors: %s\n' "$*" >&2; exit 1; }
# Debian's package is qemu-user, or qemu-user-static with another name for the programs.
emulator() { command -v "qemu-$1" || command -v "qemu-$1-static" || fail "qemu-$1 is missing (Debian: apt-get install qemu-user)"; }
arm=$(emulator aarch64)
x86=$(emulator x86_64)
command -v aarch64-linux-gnu-gcc > /dev/null ||
  fail "aarch64-linux-gnu-gcc is missing, which builds C parts (Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
# Static programs: qemu then needs no libraries of the other system.
for target in aarch64-unknown-linux-musl x86_64-unknown-linux-gnu; do
  rustup target list --installed | grep -qx "$target" || {
    echo "processors: installing Rust's standard library for $target with rustup"
    rustup target add "$target"
  }
done

run() { # NAME TARGET RUNNER: QRES_PROCESSOR makes a test fail on another processor than this one
  echo "processors: $1"
  local variable=CARGO_TARGET_${2//-/_}_RUNNER
  env "${variable^^}=$3" QRES_PROCESSOR="$1" cargo test --quiet --package qres-fed --target "$2" "${tests[@]}"
}

run "x86-64 without AVX" x86_64-unknown-linux-gnu "$x86 -cpu Nehalem"
run "x86-64 with AVX2" x86_64-unknown-linux-gnu "$x86 -cpu Haswell"
export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc
# That compiler's headers are glibc's, whose checked functions (__memcpy_chk) musl does not have.
export CFLAGS_aarch64_unknown_linux_musl="-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=0"
run "aarch64" aarch64-unknown-linux-musl "$arm"
echo "processors: the same bits on all of them"
