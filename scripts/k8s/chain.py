"""The confirmed history of a model: chain.py ADDRESS MODEL FILE

Checks that a node's rounds are a chain without a gap, and that it has each confirmed checkpoint that FILE has from before.
Then FILE gets the history of now. Prints the number of rounds and of those that are new.
"""

import json
import os
import sys

from qres import Client
from qres.v1 import round_pb2

address, model, path = sys.argv[1:]
client = Client(address)
chain, token = {}, ""
while True:
    page = client.rounds.ListRounds(round_pb2.ListRoundsRequest(model=model, page_size=1000, page_token=token), timeout=60)
    for found in page.rounds:
        if found.HasField("checkpoint"):
            chain[found.round] = (found.checkpoint.id, found.parent, found.checkpoint.confirmed)
    token = page.next_page_token
    if not token:
        break
newest = max(chain, default=0)
missing = [number for number in range(1, newest + 1) if number not in chain]
pairs = ((number, number + 1) for number in range(1, newest) if {number, number + 1} <= chain.keys())
broken = [later for earlier, later in pairs if chain[later][1] != chain[earlier][0]]
before = {}
if os.path.exists(path):
    with open(path) as known:
        before = {int(number): id for number, id in json.load(known).items()}
lost = [number for number, id in before.items() if chain.get(number, ("",))[0] != id]
with open(path, "w") as known:
    json.dump({number: id for number, (id, _, confirmed) in chain.items() if confirmed}, known)
print(f"{newest} rounds, {newest - max(before, default=0)} of them new")
if missing or broken or lost:
    sys.exit(f"rounds missing: {missing}; parents that do not fit: {broken}; confirmed rounds that changed or went: {lost}")
