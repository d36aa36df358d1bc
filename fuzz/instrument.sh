#!/usr/bin/env bash
# RUSTC_WORKSPACE_WRAPPER of fuzz/run.sh: our own crates count which edges they take and what they compare; dependencies are
# built as ever. Build scripts run on their own, without the fuzzer that would link what the counters need.
case " $* " in
  *" --crate-name build_script_"*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
