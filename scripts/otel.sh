#!/usr/bin/env bash
# Traces, metrics, dashboard and alerts against the real programs: an OpenTelemetry Collector, built here with Go and kept in the
# user's cache folder, and Debian's Prometheus. Says what it builds and installs. `scripts/otel.sh --setup` stops before the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.161.0
providers=1.67.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qres-swarm/otelcol-$version

build_collector() {
  command -v go >/dev/null 2>&1 || { echo "otel: Go is missing: it builds the collector (https://go.dev/dl)" >&2; exit 1; }
  echo "otel: building OpenTelemetry Collector $version into $cache (some minutes, once)"
  mkdir -p "$cache"
  # One build at a time; the program appears under its name only when it is whole.
  exec 9>"$cache/lock"
  flock 9
  [ ! -x "$cache/otelcol" ] || return 0
  GOBIN="$cache" go install "go.opentelemetry.io/collector/cmd/builder@v$version"
  cat >"$cache/builder.yaml" <<EOF
dist: {name: otelcol, output_path: ./build}
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v$version
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver v$version
processors:
  - gomod: go.opentelemetry.io/collector/processor/batchprocessor v$version
exporters:
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter v$version
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider v$providers
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v$providers
EOF
  (cd "$cache" && ./builder --config builder.yaml)
  mv "$cache/build/otelcol" "$cache/otelcol"
  rm -rf "$cache/build"
}

install_prometheus() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "otel: installing Debian's package prometheus (with promtool)"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null
  else
    echo "otel: prometheus and promtool are missing: sudo apt-get install prometheus, or put both on the PATH" >&2
    exit 1
  fi
}

[ -x "$cache/otelcol" ] || build_collector
command -v promtool >/dev/null 2>&1 && command -v prometheus >/dev/null 2>&1 || install_prometheus
[ "${1:-}" != --setup ] || exit 0
umask 077
exec cargo test --workspace --test otel -- --nocapture
