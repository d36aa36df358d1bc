#!/bin/sh
# Generates the stubs from proto/qres/v1: generate.sh [PYTHON] [FOLDER]. The folder is this one unless said otherwise (a
# test generates into another and compares). One version of the generator gives one text: requirements.txt pins it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${1:-python3}
out=${2:-$here}
version=$(sed -n 's/^grpcio-tools==//p' "$here/requirements.txt")
got=$("$python" -c 'import importlib.metadata as m; print(m.version("grpcio-tools"))' 2>/dev/null || echo none)
if [ "$got" != "$version" ]; then
    echo "generate.sh: needs grpcio-tools $version, found $got: $python -m pip install grpcio-tools==$version" >&2
    exit 1
fi
"$python" -m grpc_tools.protoc -I "$here/../../proto" \
    --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" "$here"/../../proto/qres/v1/*.proto
