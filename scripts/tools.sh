#!/usr/bin/env bash
# Sets up, below .cache/, what the tests use beside Rust. Says what it installs; does nothing twice.
# Exit code 0 even when Go or Python is missing: a target that needs one looks for the files.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache
grpcurl_version=v1.9.4
mkdir -p "$cache/bin"

if [ ! -x "$cache/bin/grpcurl" ]; then
  if command -v go >/dev/null 2>&1; then
    echo "tools: installing grpcurl $grpcurl_version with go install into .cache/bin (about 1½ minutes, once)"
    GOBIN="$cache/bin" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version"
  else
    echo "tools: Go is missing, so there is no grpcurl" >&2
  fi
fi

stamp=$cache/venv/.requirements
if ! cmp -s clients/python/requirements.txt "$stamp"; then
  if command -v python3 >/dev/null 2>&1 && python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "tools: installing the Python client's requirements with pip into .cache/venv"
    python3 -m venv --clear "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r clients/python/requirements.txt
    cp clients/python/requirements.txt "$stamp"
  else
    echo "tools: Python 3 with venv is missing, so the Python client is not tested" >&2
  fi
fi
