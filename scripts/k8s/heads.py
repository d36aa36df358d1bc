"""Waits until nodes stand on one head, and prints its round: heads.py MODEL SECONDS ADDRESS...

With the trainers at rest, the heads must become equal and stay so.
"""

import sys
import threading
import time

from qres import Client, QresError

model, seconds, *addresses = sys.argv[1:]
clients = [Client(address) for address in addresses]
clock, end = threading.Event(), time.monotonic() + float(seconds)


def heads():
    """The head of each node, or why there is none."""
    found = []
    for client in clients:
        try:
            head = client.model(model, timeout=5).head
            found.append((head.round, head.id))
        except QresError as error:
            found.append((-1, str(error)))
    return found


before, still = None, 0
# A round that has enough contributions may close up to three seconds after the last one came.
while still < 8:
    now = heads()
    still = still + 1 if len(set(now)) == 1 and now[0][0] >= 0 and now == before else 0
    if time.monotonic() > end:
        sys.exit("the heads are not equal:\n" + "\n".join(f"  {a}: {h}" for a, h in zip(addresses, now, strict=True)))
    before = now
    clock.wait(0.5)
print(now[0][0])
