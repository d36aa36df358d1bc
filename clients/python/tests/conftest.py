"""What several tests begin with."""

import pytest
from certificates import Pki
from daemon import Daemon
from node import Node, serve
from qres import Client


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    """What the tests' own environment has is no test's."""
    for name in ("TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_NAME", "TOKEN", "TOKEN_FILE"):
        monkeypatch.delenv(f"QRES_{name}", raising=False)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


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
