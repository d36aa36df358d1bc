#!/usr/bin/env bash
# Fuzzes every target, or those named, for FUZZ_SECONDS (60) each, on stable Rust. Needs a C++ compiler for libFuzzer. Inputs
# that reached something new are kept below .cache/fuzz; one that breaks a promise is written to fuzz/crashes/<target>, and
# the script goes on with the next target and fails at the end. FUZZ_SEED repeats a run.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
# The whole workspace, of which one binary: another selection of packages would resolve other features and build libp2p anew.
RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/instrument.sh \
  "${CARGO:-cargo}" build --workspace --features qres-fuzz/libfuzzer --bin qres-fuzz-libfuzzer
program=target/debug/qres-fuzz-libfuzzer
[ $# -gt 0 ] || set -- $(ls fuzz/corpus)
export TMPDIR=$PWD/.cache/fuzz/tmp
failed=()
for target in "$@"; do
  kept=.cache/fuzz/$target
  mkdir -p "$kept" "fuzz/crashes/$target" "$TMPDIR"
  echo "fuzz: $target for $seconds s"
  QRES_FUZZ_TARGET=$target "$program" "$kept" "fuzz/corpus/$target" -artifact_prefix="fuzz/crashes/$target/" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -seed="${FUZZ_SEED:-0}" \
    -verbosity=0 -print_final_stats=1 || failed+=("$target")
  rmdir "fuzz/crashes/$target" 2>/dev/null || true
  rm -rf "$TMPDIR"
done
[ ${#failed[@]} = 0 ] || { echo "fuzz: broken promises: ${failed[*]} (see fuzz/crashes)"; exit 1; }
