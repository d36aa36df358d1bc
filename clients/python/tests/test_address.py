"""The address grammar, against the examples that the CLI is tested with, too."""

from pathlib import Path

import grpc
import pytest
from node import Node, serve
from qres import Client, QresError
from qres.address import Address
from qres.proxy import proxy_for

EXAMPLES = Path(__file__).parents[2] / "addresses.txt"


def examples():
    lines = EXAMPLES.read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(("text", "meaning"), examples())
def test_an_address_means_what_the_examples_say(text, meaning):
    if not meaning.startswith("error: "):
        assert str(Address.parse(text)) == meaning
        return
    with pytest.raises(ValueError) as caught:
        Address.parse(text)
    assert meaning.removeprefix("error: ") in str(caught.value)
    assert f"address {text!r}: " in str(caught.value)


def test_the_examples_are_both_kinds():
    errors = [meaning for _, meaning in examples() if meaning.startswith("error: ")]
    assert len(errors) > 20 and len(examples()) - len(errors) > 20


@pytest.mark.parametrize(
    "text", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.255.0.9:5", "[::1]:7", "unix:/run/x", "https://[::1]"]
)
def test_loopback_and_sockets_are_this_machine(text):
    assert Address.parse(text).is_local


@pytest.mark.parametrize("text", ["localhost.example.org", "128.0.0.1", "[::2]", "example.org", "0.0.0.0", "https://h"])
def test_all_else_is_not(text):
    assert not Address.parse(text).is_local


def test_the_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("QRES_ADDR", "http://127.0.0.1:5555/")
    assert Client().address == "127.0.0.1:5555"
    assert Client("127.0.0.1:6").address == "127.0.0.1:6"
    monkeypatch.setenv("QRES_ADDR", "https://127.0.0.1:5555")
    assert Client().address == "https://127.0.0.1:5555"
    monkeypatch.setenv("QRES_ADDR", "unix:///run/qres.sock")
    assert Client().address == "unix:/run/qres.sock"
    monkeypatch.setenv("QRES_ADDR", "unix:qres.sock")
    with pytest.raises(ValueError, match="QRES_ADDR: address 'unix:qres.sock': an absolute path must follow 'unix:'"):
        Client()
    monkeypatch.delenv("QRES_ADDR")
    assert Client().address == "127.0.0.1:4002"


CLOSED = "http://user:secret@127.0.0.1:1"
"""A proxy that does not exist: port 1 is closed."""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_this_machine_is_reached_whatever_proxy_is_set(monkeypatch, host):
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, CLOSED)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    with serve(Node()) as address, Client(f"{host}:{address.split(':')[1]}") as client:
        client.node(timeout=60)


def test_a_failure_names_the_address_and_the_proxy_without_its_password(monkeypatch):
    for name in ("grpc_proxy", "https_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", CLOSED)
    with Client("192.0.2.7:4002") as client, pytest.raises(QresError) as caught:
        client.node(timeout=60)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert "192.0.2.7:4002 was not reached through the proxy http_proxy=http://127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_failure_on_the_mesh_s_port_says_which_port_it_is():
    with Client("127.0.0.9:4001") as client, pytest.raises(QresError) as caught:
        client.node(timeout=60)
    assert "127.0.0.9:4001 (port 4001 is the mesh; the API listens on 4002 by default)" in str(caught.value)
    assert "proxy" not in str(caught.value)


@pytest.mark.parametrize(
    ("excepted", "goes_through"),
    [("", True), ("example.org", False), (" other , .Example.org", False), ("example.com", True), ("org.example", True)],
)
def test_no_proxy_names_hosts_by_their_ends(monkeypatch, excepted, goes_through):
    monkeypatch.setenv("grpc_proxy", "http://first:1")
    monkeypatch.setenv("http_proxy", "http://second:1")
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    monkeypatch.setenv("no_proxy", excepted)
    proxy = proxy_for(Address.parse("node.example.org"))
    assert proxy == ("grpc_proxy=http://first:1" if goes_through else None)


def test_a_socket_is_reached_whatever_proxy_is_set(monkeypatch, tmp_path):
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, CLOSED)
    # gRPC's library decodes the path of a target.
    path = tmp_path / "s%41\u00e9?#.sock"
    assert proxy_for(Address.parse(f"unix:{path}")) is None
    with serve(Node(), Address.parse(f"unix:{path}").target), Client(f"unix:{path}") as client:
        assert path.is_socket()
        client.node(timeout=60)


def test_a_socket_that_nobody_listens_on_is_named(tmp_path):
    with Client(f"unix:{tmp_path}/none") as client, pytest.raises(QresError) as caught:
        client.node(timeout=60)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert f"the node at unix:{tmp_path}/none was not reached" in str(caught.value)


def test_no_proxy_names_networks(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://p:1")
    monkeypatch.setenv("no_grpc_proxy", "192.0.2.0/24,nonsense/9")
    assert proxy_for(Address.parse("192.0.2.7")) is None
    assert proxy_for(Address.parse("192.0.3.7")) == "http_proxy=http://p:1"
