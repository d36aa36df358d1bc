#!/usr/bin/env bash
# Prints the figures of the README: each as a ratio to a limit that the same run measures.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo bench -p qres-fed --bench kernels
cargo build --release -p qres-daemon -p qres-cli
cargo bench -p qres-tests --bench round
