#!/usr/bin/env bash
# Prints the figures of the README: each as a ratio to a limit that the same run measures.
set -euo pipefail
cd "$(dirname "$0")/.."
# The whole workspace is named: another selection would resolve other features and build libp2p anew.
cargo build --release --workspace --bins
cargo bench --workspace --bench kernels --bench round
