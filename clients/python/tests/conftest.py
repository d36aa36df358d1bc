"""What several tests begin with."""

import pytest
from daemon import Daemon
from node import Node, serve
from qres import Client


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def client(node):
    with serve(node) as address, Client(address) as client:
        yield client


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()
