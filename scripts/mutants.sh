#!/usr/bin/env bash
# Changes one line of the round machine at a time, in a copy, and expects the tests of crates/fed to notice: the unit tests, or
# QRES_SIM_SEEDS (400) simulated runs. The list is crates/fed/tests/mutants.txt; names given as arguments choose from it. About
# 1½ minutes a mutant.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$PWD/.cache/mutants
mkdir -p "$copy"
export QRES_SIM_SEEDS=${QRES_SIM_SEEDS:-400} CARGO_TARGET_DIR=$copy/target RUST_BACKTRACE=0
python3 - "$copy" "$@" <<'PY'
import os, pathlib, shutil, signal, subprocess, sys

copy, chosen = pathlib.Path(sys.argv[1]), sys.argv[2:]
blocks = pathlib.Path("crates/fed/tests/mutants.txt").read_text().split("\n== ")[1:]
mutants = []
for block in blocks:
    name, file, old, new = (block.split("\n") + [""])[:4]
    mutants.append((name, file, old, new))
for name, file, old, _ in mutants:
    count = pathlib.Path("crates/fed/src", file).read_text().count(old)
    if count != 1:
        sys.exit(f"{name}: {file} has {count} times: {old}")
unknown = set(chosen) - {m[0] for m in mutants}
if unknown:
    sys.exit(f"no such mutant: {', '.join(sorted(unknown))}")


def sources():
    # The whole workspace, so that paths between its crates hold.
    shutil.rmtree(copy / "src", ignore_errors=True)
    ignore = shutil.ignore_patterns("target", ".cache", ".git", "node_modules")
    # As files of now: with their old times cargo would take the last mutant's build for theirs.
    shutil.copytree(".", copy / "src", ignore=ignore, symlinks=True, copy_function=shutil.copy)


def caught():
    for what in (["--lib"], ["--test", "sim"]):
        run = subprocess.Popen(
            ["cargo", "test", "--quiet", "-p", "qres-fed", *what],
            cwd=copy / "src",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, errors = run.communicate(timeout=1200)
        except subprocess.TimeoutExpired:
            # The tests are a child of cargo: without their group they would run on.
            os.killpg(run.pid, signal.SIGKILL)
            raise
        said = out + errors
        if "could not compile" in said:
            sys.exit(f"a mutant does not compile:\n{errors[-2000:]}")
        if run.returncode:
            failed = [line for line in said.splitlines() if line.endswith("FAILED") or "runs failed" in line]
            return what[-1].strip("-"), (failed or ["?"])[0][:110]
    return None


sources()
if caught():
    sys.exit("the tests fail without any mutant")
survivors = []
for name, file, old, new in mutants:
    if chosen and name not in chosen:
        continue
    path = copy / "src/crates/fed/src" / file
    text = path.read_text()
    path.write_text(text.replace(old, new))
    try:
        found = caught()
    except subprocess.TimeoutExpired:
        found = ("time", "did not end in 20 minutes")
    path.write_text(text)
    print(f"{'caught' if found else 'SURVIVED'}: {name}" + (f" ({found[0]}: {found[1]})" if found else ""), flush=True)
    if not found:
        survivors.append(name)
if survivors:
    sys.exit(f"{len(survivors)} survived")
PY
