"""The client against a server with TLS, client certificates and tokens, in this process."""

import grpc
import numpy as np
import pytest
from certificates import Pki, needs_openssl
from node import BROKEN, LARGE, Gate, serve
from qres import Client, QresError

pytestmark = needs_openssl


def credentials(pki, server, *, clients=False):
    """Those of a server that knows this CA's clients, or none."""
    certificate, key = server
    ca = pki.ca.read_bytes() if clients else None
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())], ca, require_client_auth=clients)


@pytest.fixture
def loopback(pki):
    return pki.server("loopback", "DNS:localhost", "IP:127.0.0.1")


def test_a_token_goes_with_every_call(pki, loopback, node, tmp_path):
    gate = Gate("t")
    with serve(node, tls=credentials(pki, loopback), gate=gate) as address:
        with Client(address, tls_ca=pki.ca, token="t") as client:
            assert client.address == f"https://{address}"
            client.node(timeout=60)
            head = next(client.heads("m", timeout=60))
            head.submit(head.tensors, samples=1, timeout=60)
            client.create("m", LARGE, timeout=60)
            client.fetch_to("m", tmp_path / "file", timeout=60)
            client.join("m", timeout=60)
            list(client.list_models(timeout=60))
            # An upload and a fetch that go on after a break.
            node.failures = {"SubmitWeights": [BROKEN], "FetchWeights": [BROKEN]}
            head.submit(head.tensors, samples=1, timeout=60)
            next(client.heads("m", timeout=60))
    assert {shown for _, shown in gate.calls} == {"Bearer t"}
    methods = {"GetNode", "FetchWeights", "SubmitWeights", "CreateModel", "WatchModels", "JoinModel", "GetUpload"}
    assert methods <= {method for method, _ in gate.calls}


def test_the_stubs_show_the_token_and_keep_metadata_and_timeouts(pki, loopback, node):
    from qres.v1 import node_pb2

    gate = Gate("t")
    with serve(node, tls=credentials(pki, loopback), gate=gate) as address:
        with Client(f"https://{address}", tls_ca=pki.ca, token="t") as client:
            answer, call = client.nodes.GetNode.with_call(node_pb2.GetNodeRequest(), timeout=60, metadata=[("a", "b")])
            assert (answer, call.code()) == (node_pb2.GetNodeResponse(), grpc.StatusCode.OK)
            assert client.nodes.GetNode.future(node_pb2.GetNodeRequest(), timeout=60).result() == answer
    assert gate.calls == [("GetNode", "Bearer t")] * 2


@pytest.mark.parametrize(("arguments", "reason"), [({}, "CREDENTIAL_MISSING"), ({"token": "u"}, "CREDENTIAL_REFUSED")])
def test_a_caller_without_a_good_token_ends_with_the_node_s_message(pki, loopback, node, tmp_path, arguments, reason):
    gate = Gate("t")
    with serve(node, tls=credentials(pki, loopback), gate=gate) as address:
        with Client(address, tls_ca=pki.ca, **arguments) as client:
            for call in (
                lambda: client.node(),
                lambda: next(client.heads("m")),
                lambda: client.submit("m", LARGE, base="c1", samples=1),
                lambda: client.fetch_to("m", tmp_path / "file"),
                lambda: client.join("m"),
            ):
                with pytest.raises(QresError, match=f"the token is not known here .UNAUTHENTICATED {reason}"):
                    call()
    assert len(gate.calls) == 5 and node.requests == []


def test_a_token_that_was_exchanged_works_in_a_running_loop(pki, loopback, node, tmp_path):
    path, gate = tmp_path / "token", Gate("old")
    path.write_text("old\n")
    with serve(node, tls=credentials(pki, loopback), gate=gate) as address:
        with Client(address, tls_ca=pki.ca, token_file=path) as client:
            heads = client.heads("m", timeout=60)
            assert next(heads).checkpoint == "c1"
            gate.tokens = {"new"}
            path.write_text("new\n")
            assert next(heads).checkpoint == "c2"
    assert gate.calls == [("FetchWeights", "Bearer old"), ("FetchWeights", "Bearer new")]


def test_a_certificate_names_the_caller(pki, loopback, node):
    certificate, key = pki.client("alice")
    with serve(node, tls=credentials(pki, loopback, clients=True)) as address:
        with Client(address, tls_ca=pki.ca, tls_cert=certificate, tls_key=key) as client:
            client.node(timeout=60)
            assert node.names == [b"alice"]
            head = client.fetch("m", timeout=60)
            assert np.array_equal(head.tensors["w"], LARGE["w"])
        with Client(address, tls_ca=pki.ca) as client, pytest.raises(QresError) as caught:
            client.node(timeout=60)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE and len(node.names) == 1
    assert "it may want a client certificate, or another one: see tls_cert" in str(caught.value)


def test_the_environment_is_enough(pki, loopback, node, monkeypatch, tmp_path):
    certificate, key = pki.client("alice")
    (tmp_path / "token").write_text("t")
    gate = Gate("t")
    with serve(node, tls=credentials(pki, loopback, clients=True), gate=gate) as address:
        monkeypatch.setenv("QRES_ADDR", f"https://{address}")
        monkeypatch.setenv("QRES_TLS_CA", str(pki.ca))
        monkeypatch.setenv("QRES_TLS_CERT", str(certificate))
        monkeypatch.setenv("QRES_TLS_KEY", str(key))
        monkeypatch.setenv("QRES_TLS_NAME", "localhost")
        monkeypatch.setenv("QRES_TOKEN_FILE", str(tmp_path / "token"))
        with Client() as client:
            client.node(timeout=60)
    assert (node.names, gate.calls) == ([b"alice"], [("GetNode", "Bearer t")])


def test_a_node_with_another_ca_is_not_trusted(pki, loopback, node, tmp_path, monkeypatch):
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    other = Pki(tmp_path)
    with serve(node, tls=credentials(pki, loopback)) as address:
        # The second one has the system's roots.
        for arguments in ({"tls_ca": other.ca}, {}):
            with Client(f"https://{address}", token="t", **arguments) as client, pytest.raises(QresError) as caught:
                client.node(timeout=60)
            assert caught.value.code == grpc.StatusCode.UNAVAILABLE
            assert "its certificate is not by a CA that this client trusts: see tls_ca" in str(caught.value)


def test_tls_on_one_side_alone_is_told(pki, loopback, node):
    with serve(node, tls=credentials(pki, loopback)) as address, Client(address) as client:
        with pytest.raises(QresError, match="it may speak TLS alone: use https:// or tls_ca"):
            client.node(timeout=60)
    with serve(node) as address, Client(address, tls_ca=pki.ca) as client:
        with pytest.raises(QresError, match="it speaks no TLS: leave out https:// and tls_ca"):
            client.node(timeout=60)


def test_the_system_s_roots_hold_without_a_ca(pki, loopback, node, monkeypatch):
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.ca))
    with serve(node, tls=credentials(pki, loopback)) as address, Client(f"https://{address}") as client:
        client.node(timeout=60)


def test_the_name_that_is_checked_can_be_given(pki, node):
    elsewhere = pki.server("elsewhere", "DNS:node.example")
    with serve(node, tls=credentials(pki, elsewhere)) as address:
        with Client(address, tls_ca=pki.ca, tls_name="node.example") as client:
            client.node(timeout=60)
        with Client(address, tls_ca=pki.ca) as client, pytest.raises(QresError) as caught:
            client.node(timeout=60)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert "its certificate has another name: see tls_name" in str(caught.value)


def test_a_token_goes_over_a_socket_and_loopback_too(node, tmp_path):
    gate = Gate("t")
    socket = f"unix:{tmp_path}/node.sock"
    with serve(node, socket, gate=gate), Client(socket, token="t") as client:
        client.node(timeout=60)
        assert next(client.heads("m", timeout=60)).checkpoint == "c1"
    with serve(node, gate=gate) as address, Client(address, token="t") as client:
        client.node(timeout=60)
    assert {shown for _, shown in gate.calls} == {"Bearer t"} and len(gate.calls) == 3
