#!/usr/bin/env bash
# Compares the aggregation rules with those of Flower, ByzFL and NumPy, which pip installs below .cache.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/conformance
if ! cmp -s scripts/conformance/requirements.txt "$venv/.requirements"; then
  echo "conformance: installing Flower, ByzFL and NumPy with pip into $venv"
  python3 -m venv --clear "$venv"
  grep -v '^byzfl' scripts/conformance/requirements.txt | "$venv/bin/pip" install --quiet --disable-pip-version-check -r /dev/stdin
  # ByzFL asks for torch, which its rules for NumPy arrays do not need.
  grep '^byzfl' scripts/conformance/requirements.txt | "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r /dev/stdin
  cp scripts/conformance/requirements.txt "$venv/.requirements"
fi
"${CARGO:-cargo}" build --workspace --example aggregate
"$venv/bin/python" scripts/conformance/compare.py "${CARGO_TARGET_DIR:-target}/debug/examples/aggregate"
