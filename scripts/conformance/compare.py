"""Compares the aggregation rules with Flower's, ByzFL's and NumPy's own implementations on random vectors.

The argument is the program `aggregate` (crates/fed/examples). Prints a line for each rule, and fails if one differs.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

# ByzFL imports torch for its tensors, and all its attacks and models when it is imported. Its rules for NumPy arrays need
# neither: torch is replaced by an empty module, and the package's own __init__ is passed over.
torch = types.ModuleType("torch")
torch.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
sys.modules["torch"] = torch
for name in ("byzfl", "byzfl.aggregators", "byzfl.utils"):
    package = types.ModuleType(name)
    sys.modules[name] = package
found = next(Path(path) for path in sys.path if (Path(path) / "byzfl" / "aggregators").is_dir())
sys.modules["byzfl"].__path__ = [str(found / "byzfl")]  # type: ignore[attr-defined]
sys.modules["byzfl.aggregators"].__path__ = [str(found / "byzfl" / "aggregators")]  # type: ignore[attr-defined]
sys.modules["byzfl.utils"].__path__ = [str(found / "byzfl" / "utils")]  # type: ignore[attr-defined]
sys.modules["byzfl.utils.torch_tools"] = types.ModuleType("byzfl.utils.torch_tools")
sys.modules["byzfl.utils"].torch_tools = sys.modules["byzfl.utils.torch_tools"]  # type: ignore[attr-defined]
byzfl = importlib.import_module("byzfl.aggregators.aggregators")
before = importlib.import_module("byzfl.aggregators.preaggregators")

from flwr.server.strategy import aggregate as flower  # noqa: E402

Vectors = np.ndarray
Rules = list[tuple[str, dict[str, float]]]


def of_flower(function: Callable[..., list[np.ndarray]], **numbers: object) -> Callable[[Vectors, list[int]], np.ndarray]:
    """A rule of Flower, whose models are lists of arrays with sample counts."""
    return lambda x, samples: function([([row], n) for row, n in zip(x, samples)], **numbers)[0]


def cases(n: int, f: int) -> list[tuple[str, Rules, Callable[[Vectors, list[int]], np.ndarray], bool]]:
    """Each case: its name, our rules, the other implementation, and whether the members have different weights."""
    number = {"f": float(f)}
    all_of = [
        ("NumPy mean", [], lambda x, s: np.average(x, axis=0, weights=s), True),
        ("Flower FedAvg", [], of_flower(flower.aggregate), True),
        ("NumPy median", [("median/1", {})], lambda x, s: np.median(x, axis=0), False),
        ("Flower median", [("median/1", {})], of_flower(flower.aggregate_median), False),
        ("ByzFL Median", [("median/1", {})], lambda x, s: byzfl.Median()(x), False),
        ("Flower trimmed mean", [("trimmed-mean/1", number)], of_flower(flower.aggregate_trimmed_avg, proportiontocut=(f + 0.1) / n), False),
        ("ByzFL TrMean", [("trimmed-mean/1", number)], lambda x, s: byzfl.TrMean(f)(x), False),
        ("ByzFL Meamed", [("mean-around-median/1", number)], lambda x, s: byzfl.Meamed(f)(x), False),
        ("ByzFL GeometricMedian", [("geometric-median/1", {"nu": 0.1, "iterations": 3.0})], lambda x, s: byzfl.GeometricMedian()(x), False),
        (
            "ByzFL CenteredClipping",
            [("centred-clipping/1", {"radius": 2.0, "iterations": 4.0})],
            lambda x, s: byzfl.CenteredClipping(L=4, tau=2.0)(x),
            False,
        ),
        ("ByzFL MDA", [("mda/1", number)], lambda x, s: byzfl.MDA(f)(x), False),
        ("ByzFL NNM, TrMean", [("nnm/1", number), ("trimmed-mean/1", number)], lambda x, s: byzfl.TrMean(f)(before.NNM(f)(x)), False),
        ("ByzFL ARC, Average", [("arc/1", number)], lambda x, s: byzfl.Average()(before.ARC(f)(x)), False),
        ("ByzFL Clipping, Average", [("clip/1", {"norm": 2.0})], lambda x, s: byzfl.Average()(before.Clipping(2.0)(x)), False),
    ]
    if n >= 2 * f + 3:
        all_of += [
            ("Flower Krum", [("krum/1", number)], of_flower(flower.aggregate_krum, num_malicious=f, to_keep=0), False),
            ("Flower MultiKrum", [("multi-krum/1", number)], of_flower(flower.aggregate_krum, num_malicious=f, to_keep=n - f), True),
            ("ByzFL Krum", [("krum-n-f-1/1", number)], lambda x, s: byzfl.Krum(f)(x), False),
            ("ByzFL MultiKrum", [("multi-krum-n-f-1/1", number)], lambda x, s: byzfl.MultiKrum(f)(x), False),
        ]
    if n >= 4 * f + 3:
        rule = of_flower(flower.aggregate_bulyan, num_malicious=f, aggregation_rule=flower.aggregate_krum, to_keep=0)
        all_of.append(("Flower Bulyan", [("bulyan/1", number)], rule, False))
    return all_of


def main(program: str) -> int:
    """Runs all cases and returns the exit code."""
    random = np.random.default_rng(1)
    ours = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert ours.stdin and ours.stdout
    worst: dict[str, tuple[int, float]] = {}
    for n, f in [(3, 1), (5, 1), (7, 1), (8, 2), (11, 2), (20, 4)]:
        for d in (3, 50, 700):
            x = random.normal(size=(n, d))
            x[:f] += random.normal(scale=5.0, size=(f, d))
            for name, rules, other, weighted in cases(n, f):
                samples = [int(s) for s in random.integers(1, 100, size=n)] if weighted else [1] * n
                named = [{"id": rule, "params": numbers} for rule, numbers in rules]
                ours.stdin.write(json.dumps({"rules": named, "vectors": x.tolist(), "samples": samples}) + "\n")
                ours.stdin.flush()
                line = ours.stdout.readline()
                if not line:
                    print(f"{name}: n = {n}, f = {f}: the program gave no answer", file=sys.stderr)
                    return 1
                difference = float(np.max(np.abs(np.array(json.loads(line)) - other(x.copy(), list(samples)))))
                runs, most = worst.get(name, (0, 0.0))
                worst[name] = (runs + 1, max(most, difference))
    for name, (runs, most) in worst.items():
        print(f"{'ok' if most < 1e-9 else 'DIFFERS':8} {name:26} {runs:3} rounds, largest difference {most:.1e}")
    return 0 if all(most < 1e-9 for _, most in worst.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
