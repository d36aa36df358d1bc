"""Asks a node about each submission that it acknowledged: ledger.py ADDRESS LEDGER

Each must be in a checkpoint, or have an answer with a reason. Prints the counts; fails if one is unknown or waits.
"""

import collections
import json
import sys
import threading
import time

from qres import Client, QresError
from qres.v1 import submission_pb2

address, ledger = sys.argv[1:]
client = Client(address)
state = submission_pb2.SubmissionState
answered = {
    state.SUBMISSION_STATE_SEALED: "sealed",
    state.SUBMISSION_STATE_CARRIED: "carried over",
    state.SUBMISSION_STATE_REJECTED: "rejected",
    state.SUBMISSION_STATE_SUPERSEDED: "superseded",
}
clock, end = threading.Event(), time.monotonic() + 60
with open(ledger) as lines:
    waiting = [json.loads(line)["id"] for line in lines]
counts, lost = collections.Counter(), []
while waiting:
    still = []
    for id in waiting:
        try:
            found = client.submission(id, timeout=10)
        except QresError as error:
            lost.append(f"{id}: {error}")
            continue
        if found.state not in answered:
            still.append(id)
        elif not found.reason and found.state in (state.SUBMISSION_STATE_REJECTED, state.SUBMISSION_STATE_SUPERSEDED):
            lost.append(f"{id}: {answered[found.state]} without a reason")
        else:
            counts[answered[found.state]] += 1
    # The newest one may belong to a round that has not begun: the trainers rest.
    if still and time.monotonic() > end:
        if len(still) > 1:
            lost += [f"{id}: no answer yet" for id in still]
        break
    waiting = still
    clock.wait(0.5)
print(f"{sum(counts.values())} acknowledged: " + (", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "none"))
sys.exit("\n".join(lost) if lost else 0)
