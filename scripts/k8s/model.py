"""Makes a model whose members are these nodes: model.py MODEL ADDRESS... Prints its name and id, NAME@ID."""

import sys

import numpy as np
from qres import Client

name, *addresses = sys.argv[1:]
members = [Client(address).node(timeout=30).peer_id for address in addresses]
shapes = {"weight": np.empty((64, 256), np.float32), "bias": np.empty(64, np.float32)}
# A silent member costs a round three seconds at most, so that a test of many restarts ends soon.
made = Client(addresses[0]).create(name, shapes, seed=1, members=members, deadline_ms=3000)
print(f"{made.name}@{made.id}")
