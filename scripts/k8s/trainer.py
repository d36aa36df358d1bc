"""A trainer of the test: fetches, trains, submits, and writes down what its node acknowledged.

trainer.py ADDRESS MODEL LEDGER PAUSE: the model is NAME@ID; while the file PAUSE exists it does not begin to train. Once the model is
joined, its name alone means it, and its successor when the members change.
"""

import json
import os
import sys
import threading

import numpy as np
from qres import Client

address, model, ledger, pause = sys.argv[1:]
client = Client(address)
client.join(model)
generator = np.random.default_rng()
clock = threading.Event()
with open(ledger, "a", buffering=1) as written:
    for head in client.heads(model.split("@")[0]):
        clock.wait(0.1)  # the training
        while os.path.exists(pause):
            clock.wait(0.1)
        weights = {name: tensor + generator.normal(size=tensor.shape).astype("f4") for name, tensor in head.tensors.items()}
        submission = head.submit(weights, samples=10)
        if submission:
            written.write(json.dumps({"id": submission.id, "round": head.round + 1}) + "\n")
