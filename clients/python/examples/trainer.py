"""A trainer to copy: softmax regression in NumPy on a CSV file whose last column is the label.

Three nodes, three trainers, each with every third row:  trainer.py --address 127.0.0.1:4002 --shard 0 --members A B C
where A, B and C are the nodes' peer ids (`qres status` shows a node's own), the same list for every trainer.

A node on another machine wants TLS and a credential. The environment names both: QRES_ADDR=https://host:4002,
QRES_TLS_CA=ca.crt and QRES_TOKEN_FILE=token (or QRES_TLS_CERT and QRES_TLS_KEY). Shard 0 creates the model, for which it
needs the role `operator`; `trainer` is enough for the others once their node has joined the model.
"""

import argparse
from pathlib import Path

import numpy as np
from qres import Client, proximal_gradient

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--address", help="this trainer's own node (default: QRES_ADDR, else 127.0.0.1:4002)")
parser.add_argument("--model", default="python-example")
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--data", default=Path(__file__).parents[3] / "crates/demo/data/digits.csv.gz", help="CSV, or CSV.gz")
parser.add_argument("--members", nargs="*", default=[], help="peer ids of the trainers' nodes (default: this node alone)")
parser.add_argument("--shard", type=int, default=0, help="which of the members this is; 0 creates the model")
args = parser.parse_args()

data = np.loadtxt(args.data, delimiter=",", dtype=np.float32)
classes, scale = int(data[:, -1].max()) + 1, data[:, :-1].max()
data = data[args.shard :: max(1, len(args.members))]
x, y = data[:, :-1] / scale, np.eye(classes, dtype=np.float32)[data[:, -1].astype(int)]


def train(fetched, mu, rate=0.5, steps=50):
    """Gradient descent on all rows at once."""
    w = {name: tensor.copy() for name, tensor in fetched.items()}
    for _ in range(steps):
        scores = x @ w["weight"].T + w["bias"]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = (p / p.sum(axis=1, keepdims=True) - y) / len(x)
        pull = proximal_gradient(w, fetched, mu)
        w["weight"] -= rate * (error.T @ x + pull["weight"])
        w["bias"] -= rate * (error.sum(axis=0) + pull["bias"])
    return w


client = Client(args.address)
if args.shard == 0:
    shapes = {"weight": np.empty((classes, x.shape[1]), np.float32), "bias": np.empty(classes, np.float32)}
    spec = {"strategy": "fedprox/1", "params": {"mu": 0.01}, "metrics": {"accuracy": "highest"}}
    client.create(args.model, shapes, seed=1, members=args.members, **spec)
client.join(args.model, creator=args.members[0] if args.members else None)

for head in client.heads(args.model):  # each newer than the one before, and none that this trainer has submitted on
    right = ((x @ head.tensors["weight"].T + head.tensors["bias"]).argmax(axis=1) == y.argmax(axis=1)).mean()
    print(f"round {head.round}: {right:.1%} of this trainer's rows right", flush=True)
    if head.round >= args.rounds:
        break
    # The accuracy of the head, not of the new weights: `qres round list` shows that of all members together.
    head.submit(train(head.tensors, head.config["mu"]), samples=len(x), metrics={"accuracy": float(right)})
