"""The client against a real daemon."""

from concurrent import futures

import numpy as np
import pytest
from daemon import Daemon, needs_daemon
from qres import Client, QresError, dump, load_file, open_file

pytestmark = needs_daemon
MIXED = {
    "b/weight": np.arange(12, dtype="f4").reshape(3, 4),
    "a \"quoted\" \u00e9": np.arange(3, dtype="u1"),
    "steps": np.array(7, "i8"),
    "mask": np.array([True, False, True]),
    "half": np.ones(5, "f2"),
    "transposed": np.arange(6, dtype=">f4").reshape(2, 3).T,
    "empty": np.empty((0, 4), "f4"),
}


def same(left, right):
    return sorted(left) == sorted(right) and all(np.array_equal(left[name], right[name]) for name in left)


def test_mixed_tensors_make_a_model_and_come_back(daemon):
    with Client(daemon.address) as client:
        client.create("mixed", MIXED, timeout=60)
        head = next(client.heads("mixed", timeout=60))
        assert same(head.tensors, MIXED)
        assert client.submission(head.submit(MIXED, samples=1, timeout=60).id, wait=True, timeout=60).checkpoint


def test_files_make_a_model_and_come_back(daemon, tmp_path):
    path, fetched = tmp_path / "first.safetensors", tmp_path / "fetched.safetensors"
    path.write_bytes(dump(MIXED))
    with Client(daemon.address) as client:
        client.create_file("files", path, timeout=60)
        head = client.fetch_to("files", fetched, timeout=60)
        assert same(load_file(fetched), MIXED) and same(open_file(fetched), MIXED)
        # What the node wrote goes back as it is, and as mapped arrays.
        client.submit_file("files", fetched, base=head.checkpoint, samples=1, timeout=60)
        head = next(client.heads("files", after=head.checkpoint, timeout=60))
        assert head.submit(open_file(fetched), samples=1, timeout=60)


def test_a_trainer_gets_its_own_personal_tensors_back(daemon, tmp_path):
    with Client(daemon.address) as client:
        first = {"bn.mean": np.zeros(3, "f4"), "table": np.ones(2, "f4"), "w": np.zeros(1, "f4")}
        model = client.create("own", first, personal=["bn.*"], frozen=["table"], timeout=60)
        assert [tensor.kind for tensor in model.tensors] == [3, 2, 1]
        head = next(client.heads("own", trainer="alice", timeout=60))
        assert same(head.tensors, first)
        mine = {**head.tensors, "bn.mean": np.full(3, 7, "f4"), "w": np.full(1, 2, "f4")}
        head.submit(mine, samples=1, timeout=60)
        assert same(next(client.heads("own", after=head.checkpoint, trainer="alice", timeout=60)).tensors, mine)
        fresh = {**mine, "bn.mean": first["bn.mean"]}
        assert same(client.fetch("own", trainer="bob", confirmed_only=True, timeout=60).tensors, {**fresh, "w": first["w"]})
        client.fetch_to("own", tmp_path / "own", trainer="alice", timeout=60)
        assert same(load_file(tmp_path / "own"), mine)
        with pytest.raises(QresError, match="\"table\" is frozen"):
            client.submit("own", {**mine, "table": np.zeros(2, "f4")}, base=client.fetch("own").checkpoint, samples=1, timeout=60)


def test_a_model_is_created_twice_as_one(daemon):
    with Client(daemon.address) as client:
        shapes = {"w": np.empty((3, 2), "f4")}
        first = client.create("twice", shapes, seed=1, timeout=60)
        head = client.fetch("twice", timeout=60)
        head.submit(head.tensors, samples=1, timeout=60)
        next(client.heads("twice", after=head.checkpoint, timeout=60))
        assert client.create("twice", shapes, seed=1, timeout=60).id == first.id
        assert client.model("twice", timeout=60).head.round >= 1


def test_the_heads_of_a_run_end_with_its_last_checkpoint(daemon):
    with Client(daemon.address) as client:
        end = {"metrics": {"loss": "lowest"}, "max_rounds": 2}
        client.create("ends", {"w": np.zeros(3, "f4")}, strategy="fednova/1", timeout=60, **end)
        seen = []
        for head in client.heads("ends", timeout=60):
            said = {"metrics": {"loss": 1 / (1 + head.round)}, "steps": 3}
            taken = head.submit({"w": head.tensors["w"] + 1}, samples=1, **said, timeout=60)
            seen.append((head.round, head.complete, taken is None))
        assert seen == [(0, False, False), (1, False, False), (2, True, True)]
        # A trainer that is started anew finds the end, too.
        client.join("ends", timeout=60)
        assert [head.complete for head in client.heads("ends", timeout=60)] == [True]
        best = client.fetch("ends", checkpoint="best", timeout=60)
        assert (best.round, best.tensors["w"].tolist()) == (1, [1, 1, 1])
        with pytest.raises(QresError, match="steps"):
            client.create("nova", {"w": np.zeros(1, "f4")}, strategy="fednova/1", timeout=60)
            next(client.heads("nova", timeout=60)).submit({"w": np.zeros(1, "f4")}, samples=1, timeout=60)


def test_a_schema_that_is_larger_than_a_message_makes_a_model(daemon):
    shapes = {f"{'layer' * 20}{number}": np.empty((number % 3, 1), "f4") for number in range(10_000)}
    with Client(daemon.address) as client:
        client.create("large", shapes, seed=1, timeout=60)
        tensors = client.model("large", timeout=60).tensors
        assert {tensor.name: tuple(tensor.shape) for tensor in tensors} == {n: a.shape for n, a in shapes.items()}


def test_a_trainer_that_was_started_anew_does_not_get_a_base_twice(tmp_path):
    daemon = Daemon(tmp_path, "--trainers", "2")
    try:
        daemon.start()
        with Client(daemon.address) as client, futures.ThreadPoolExecutor() as threads:
            client.create("two", {"w": np.empty(2, "f4")}, seed=1, timeout=60)
            head = next(client.heads("two", trainer="a", timeout=60))
            assert head.submit({"w": np.ones(2, "f4")}, samples=1, timeout=60)
            # The round waits for b. Work of a on the same base again: no failure, and nothing new.
            assert head.submit({"w": np.full(2, 3, "f4")}, samples=1, timeout=60) is None
            with pytest.raises(QresError, match="BASE_SUBMITTED"):
                client.submit("two", {"w": np.zeros(2, "f4")}, base=head.checkpoint, samples=1, trainer="a", timeout=60)
            anew = threads.submit(lambda: next(client.heads("two", trainer="a", timeout=60)))
            of_b = next(client.heads("two", trainer="b", timeout=60))
            assert of_b.checkpoint == head.checkpoint
            assert of_b.submit({"w": np.ones(2, "f4")}, samples=1, timeout=60)
            assert anew.result().round == head.round + 1
    finally:
        daemon.kill()


def test_a_daemon_that_is_away_is_named(daemon):
    with Client(daemon.address) as client:
        client.node(timeout=60)
        daemon.kill()
        with pytest.raises(QresError, match=f"the node at {daemon.address} was not reached"):
            client.submit("m", {"w": np.zeros(1, "f4")}, base="00", samples=1, timeout=0.5)
