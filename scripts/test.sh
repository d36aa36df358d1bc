#!/usr/bin/env bash
# Runs everything that must hold and closes with the counts: passed, failed, not run. Where Go or Python is missing it says
# so first, by name, and counts the tests that need them as not run; in CI a test that is not run is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
# Data directories that a group may write to are refused, and temporary directories are as the umask says.
umask 077
log=$(mktemp)
trap 'rm -f "$log"' EXIT

scripts/tools.sh || exit 1
# gRPC libraries would ask a proxy for nodes on this machine, too.
export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
skip=()
[ -x .cache/bin/grpcurl ] || { echo "test: Go is missing: the tests of grpcurl are NOT RUN"; skip+=(needs_go); }
[ -x .cache/venv/bin/python ] || { echo "test: Python 3 is missing: the tests of the Python client are NOT RUN"; skip+=(needs_python); }
# Some tests need a disk that can be filled: a mount in a namespace of its own.
unshare --user --map-root-user --mount sh -c 'mount -t tmpfs tmpfs /tmp' 2>/dev/null || {
  echo "test: unprivileged namespaces are switched off: the tests of a full disk are NOT RUN"
  skip+=(needs_namespaces)
}
# The tests of tests/otel say so themselves, line by line, when the collector or Prometheus is missing.
collector=${XDG_CACHE_HOME:-$HOME/.cache}/qres-swarm/otelcol-0.161.0/otelcol
[ -x "$collector" ] && command -v prometheus >/dev/null && command -v promtool >/dev/null || {
  echo "test: the OpenTelemetry Collector or Prometheus is missing: the tests that need it are NOT RUN (make otel-test sets both up)"
  skip+=(needs_otel)
}

failed=0
run() { # prints as it goes, keeps a copy for the counts
  echo "test: $*"
  "$@" 2>&1 | tee -a "$log"
  [ "${PIPESTATUS[0]}" = 0 ] || failed=1
}

not_run=0
# What no install step can give: a machine that forbids namespaces is no reason to fail.
forbidden=0
arguments=()
for word in ${skip[@]+"${skip[@]}"}; do
  arguments+=(--skip "$word")
  n=$(cargo test --quiet --workspace --test clients --test swarm --test otel -- --list "$word" 2>/dev/null | grep -c ': test$')
  not_run=$((not_run + n))
  [ "$word" != needs_namespaces ] || forbidden=$((forbidden + n))
  # `make otel-test` runs them, in CI as a job of its own.
  [ "$word" != needs_otel ] || forbidden=$((forbidden + n))
done

# The Python client's own tests; parametrised ones count once here.
[ -x .cache/venv/bin/python ] || not_run=$((not_run + $(cat clients/python/tests/*.py | grep -cE '^ *def test_')))

# Always the whole workspace: another selection of packages would resolve other features and build libp2p anew.
run cargo test --workspace --no-fail-fast -- ${arguments[@]+"${arguments[@]}"}
if [ -x .cache/venv/bin/python ]; then
  # Against the daemon that the tests above built; for two minutes it and a trainer are killed at random.
  daemon=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)/qres-daemon
  run env QRES_DAEMON="$daemon" QRES_RESTART_SECONDS=120 .cache/venv/bin/python -m pytest -q clients/python/tests
fi

sum() { grep -oE "[0-9]+ $1" "$log" | awk '{ n += $1 } END { print n + 0 }'; }
passed=$(sum passed) bad=$(sum failed) ignored=$(sum ignored)
not_run=$((not_run + ignored))
[ "$failed" = 0 ] || [ "$bad" != 0 ] || bad=1
[ "$not_run" = "$forbidden" ] || [ "${CI:-}" != true ] || { echo "test: in CI a test that is not run is a failure"; failed=1; }
echo "$passed passed, $bad failed, $not_run skipped"
exit "$failed"
