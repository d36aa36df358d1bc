"""The stubs that are checked in are those of the contract."""

import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1]


def test_generating_again_changes_nothing(tmp_path):
    subprocess.run([CLIENT / "generate.sh", sys.executable, tmp_path], check=True)
    kept = {path.name: path.read_text() for path in (CLIENT / "qres/v1").glob("*_pb2*.py*")}
    made = {path.name: path.read_text() for path in (tmp_path / "qres/v1").iterdir()}
    assert sorted(kept) == sorted(made)
    assert [name for name in made if kept[name] != made[name]] == [], "run `make stubs`"
