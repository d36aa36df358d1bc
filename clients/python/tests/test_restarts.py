"""Trainers and real daemons that are killed at any moment and started again."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from daemon import needs_daemon, wait_until
from qres import Client
from qres.v1 import weights_pb2

pytestmark = needs_daemon
CLIENT = Path(__file__).parents[1]
CYCLES = 6
SECONDS = float(os.environ.get("QRES_RESTART_SECONDS", "0"))
"""How long to go on with it, instead of so many cycles."""
MIB = 1 << 20


class Trainer:
    """A trainer's process and the lines that it printed."""

    def __init__(self, *command, folder):
        self._out, self._log, self._command = folder / "trainer.out", folder / "trainer.log", command
        self._process = None

    def start(self):
        """Starts it with the same arguments each time."""
        environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
        with open(self._out, "a") as out, open(self._log, "a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command], stdout=out, stderr=log, env=environment, cwd=CLIENT
            )

    @property
    def is_up(self):
        """Whether it was started and not killed since. That it never ends by itself is what the tests are about."""
        code = self._process and self._process.poll()
        assert code is None, f"the trainer ended by itself with {code}: {self._log.read_text()}"
        return self._process is not None

    def kill(self):
        """Kills it as `kill -9` does."""
        if self._process is not None and self.is_up:
            self._process.kill()
            self._process.wait()
            self._process = None

    def said(self):
        """What it printed, over all its lives."""
        return self._out.read_text().splitlines()

    def wait_for_more(self, word, lines=1):
        """Waits until it has printed so many more lines that begin with this word."""

        def count():
            return sum(line.split()[0] == word for line in self.said())

        before = count()
        wait_until(f"{lines} more of {word!r}, see {self._log}", lambda: self.is_up and count() >= before + lines)


@pytest.fixture
def trainers():
    """Trainers that are killed when the test has ended."""
    trainers = []
    yield trainers
    for trainer in trainers:
        trainer.kill()


def acknowledged(path):
    """The submissions that a trainer was told to be durable, and their rounds."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(id, int(round)) for id, round in lines if id != "none"]


def test_a_trainer_and_its_daemon_are_killed_in_any_order_and_the_loop_goes_on(daemon, trainers, tmp_path):
    seed = int(os.environ.get("QRES_RESTART_SEED", "7"))
    order, path = random.Random(seed), tmp_path / "acknowledged"
    trainer = Trainer(CLIENT / "tests/restart_trainer.py", daemon.address, "m", path, folder=tmp_path)
    trainers.append(trainer)
    trainer.start()
    trainer.wait_for_more("submitted")
    end, cycle = time.monotonic() + SECONDS, 0
    while cycle < CYCLES or time.monotonic() < end:
        cycle += 1
        # Right after one of its steps, some steps later.
        trainer.wait_for_more(order.choice(["fetched", "trained", "submitted"]), order.randint(1, 3))
        for victim in order.choice([[daemon], [trainer], [daemon, trainer], [trainer, daemon]]):
            victim.kill()
            # Another one may be killed while this one starts, or is away.
            if order.random() < 0.5:
                victim.start()
        for restarted in (daemon, trainer):
            if not restarted.is_up:
                restarted.start()
        # Two more: the first may have been on its way.
        trainer.wait_for_more("submitted", 2)
    trainer.kill()
    print(f"seed {seed}: {cycle} cycles, {len(acknowledged(path))} submissions")
    rounds = [round for _, round in acknowledged(path)]
    assert len(rounds) > 2 * CYCLES and rounds == sorted(rounds) and rounds[-1] > CYCLES
    with Client(daemon.address) as client:
        for id, _ in acknowledged(path):
            assert client.submission(id, timeout=60).id == id
        head = client.fetch("m", timeout=60)
        assert head.round >= rounds[-1]
    said = trainer.said()
    for number, line in enumerate(said):
        step, _, round = line.partition(" ")
        assert step != "submitted" or f"fetched {round}" not in said[number:], f"round {round} was trained twice"


def test_an_upload_goes_on_after_its_daemon_was_killed(daemon):
    client = Client(daemon.address)
    weights = {"w": np.arange(16 * MIB, dtype=np.float32)}
    client.create("large", {"w": weights["w"]}, seed=1, timeout=300)
    head = client.fetch("large", timeout=300)
    offsets, send = [], client.weights.SubmitWeights

    def kill_in_the_middle(messages):
        for number, message in enumerate(messages):
            if number == 0:
                offsets.append(message.offset)
                key = message.idempotency_key
            if len(offsets) == 1 and number == 32:
                kept = weights_pb2.GetUploadRequest(idempotency_key=key)
                wait_until("bytes on the disk", lambda: client.weights.GetUpload(kept).kept_bytes > MIB)
                daemon.kill()
                daemon.start()
            yield message

    client.weights.SubmitWeights = lambda messages, timeout: send(kill_in_the_middle(messages), timeout=timeout)
    submission = client.submit("large", weights, base=head.checkpoint, samples=1, timeout=300)
    assert len(offsets) == 2 and offsets[0] == 0 and MIB < offsets[1] <= 33 * MIB
    done = client.submission(submission.id, wait=True, timeout=300)
    assert done.total_bytes == 64 * MIB + 80
    client.close()


def test_the_example_goes_on_after_it_was_killed(daemon, trainers, tmp_path):
    # So many rounds that it is always killed on its way.
    example = [CLIENT / "examples/trainer.py", "--address", daemon.address, "--rounds"]
    trainer = Trainer(*example, "1000000", folder=tmp_path)
    trainers.append(trainer)
    for _ in range(3):
        trainer.start()
        trainer.wait_for_more("round", 2)
        trainer.kill()
    trainer.start()
    trainer.wait_for_more("round")
    daemon.kill()
    daemon.start()
    trainer.wait_for_more("round", 2)
    trainer.kill()
    rounds = [int(line.split()[1].rstrip(":")) for line in trainer.said()]
    assert rounds == sorted(rounds) and rounds[-1] >= 5
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    subprocess.run([sys.executable, *example, "1"], env=environment, check=True, timeout=120, capture_output=True)
