"""The client against a real daemon that asks for credentials."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from certificates import Pki, needs_openssl
from daemon import Daemon, needs_daemon, wait_until
from qres import Client, QresError

pytestmark = [needs_daemon, needs_openssl]
CLIENT = Path(__file__).parents[1]
# The bytes 0 to 31, and 32 to 63, as tokens, and the BLAKE3 of their texts.
OPERATOR = "qres_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
READER = "qres_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8"
HASHES = {
    OPERATOR: "blake3:0d33b54ef54aa2509cc1cf21a19805a786709662c9e2275d22ef58b3cdff56e5",
    READER: "blake3:8025acb1675ab3de116f5e23dfadd8583cd46960480f10b6d5dd89d393f64840",
}
W = {"w": np.ones(2, "f4")}


def write_callers(path, **tokens):
    """Puts a callers file in its place whole: each caller is named as its role."""
    entries = [
        f'[[caller]]\nname = "the-{role}"\nrole = "{role}"\ntoken = "{HASHES[t]}"\n' for role, t in tokens.items()
    ]
    part = path.with_suffix(".part")
    part.write_text("\n".join(entries))
    part.chmod(0o600)
    part.replace(path)


class Secured:
    """A daemon with TLS, client certificates, tokens and a socket."""

    def __init__(self, folder, pki):
        self.callers, self._pki = folder / "callers.toml", pki
        self.socket = f"unix:{folder}/grpc.sock"
        write_callers(self.callers, operator=OPERATOR, reader=READER)
        certificate, key = pki.server("loopback", "DNS:localhost", "IP:127.0.0.1")
        flags = ["--grpc-tls-cert", certificate, "--grpc-tls-key", key, "--grpc-client-ca", pki.ca]
        flags += ["--grpc-callers", self.callers, "--grpc-socket", folder / "grpc.sock"]
        self.daemon = Daemon(folder, *flags)

    def client(self, **credentials):
        """A client by TCP."""
        return Client(f"https://{self.daemon.address}", tls_ca=self._pki.ca, **credentials)

    def trainer(self, name):
        """A client with the certificate of a trainer."""
        certificate, key = self._pki.client(name)
        return self.client(tls_cert=certificate, tls_key=key)


@pytest.fixture
def secured(tmp_path, pki):
    secured = Secured(tmp_path, pki)
    try:
        secured.daemon.start()
        yield secured
    finally:
        secured.daemon.kill()


def test_an_operator_creates_and_a_trainer_trains(secured):
    with secured.client(token=OPERATOR) as operator, secured.trainer("alice") as alice:
        operator.create("m", W, timeout=60)
        alice.join("m", timeout=60)
        heads = alice.heads("m", timeout=60)
        submission = next(heads).submit(W, samples=1, timeout=60)
        assert submission.trainer == "alice"
        assert alice.submission(submission.id, wait=True, timeout=60).checkpoint
        head = next(heads)
        assert head.round == 1
        with pytest.raises(QresError, match="PERMISSION_DENIED TRAINER_DIFFERS"):
            alice.submit("m", W, base=head.checkpoint, samples=1, trainer="bob")
        with pytest.raises(QresError, match="PERMISSION_DENIED ROLE_TOO_LOW"):
            alice.create("n", W)


def test_a_reader_reads_alone(secured):
    with secured.client(token=OPERATOR) as operator, secured.client(token=READER) as reader:
        operator.create("m", W, timeout=60)
        head = reader.fetch("m", timeout=60)
        assert np.array_equal(head.tensors["w"], W["w"])
        with pytest.raises(QresError, match="the-reader has the role reader, and this call needs trainer") as caught:
            head.submit(W, samples=1)
        assert caught.value.reason == "ROLE_TOO_LOW"


def test_a_caller_without_a_credential_or_with_a_wrong_one_is_told_so(secured):
    for credentials, reason in (({}, "CREDENTIAL_MISSING"), ({"token": OPERATOR[:-1]}, "CREDENTIAL_REFUSED")):
        with secured.client(**credentials) as client:
            for call in (client.node, lambda: next(client.heads("m")), lambda: client.create("m", W)):
                with pytest.raises(QresError, match=f"UNAUTHENTICATED {reason}"):
                    call()


def test_the_socket_needs_no_credential_and_keeps_to_a_token_that_is_shown(secured):
    with Client(secured.socket) as client, Client(secured.socket, token=READER) as reader:
        client.create("m", W, timeout=60)
        reader.node(timeout=60)
        with pytest.raises(QresError, match="ROLE_TOO_LOW"):
            reader.create("n", W)
        secured.daemon.kill()
        with pytest.raises(QresError, match=f"the node at {secured.socket} was not reached"):
            client.node(timeout=60)
        secured.daemon.start()
        # This call waits for the node, and finds the new socket.
        assert next(client.heads("m", timeout=60)).round == 0


def test_a_token_is_exchanged_while_the_client_runs(secured, tmp_path):
    path = tmp_path / "token"
    path.write_text(OPERATOR)

    def refused():
        try:
            client.node(timeout=60)
        except QresError as error:
            assert error.reason == "CREDENTIAL_REFUSED"
            return True

    with secured.client(token_file=path) as client:
        client.create("m", W, timeout=60)
        write_callers(secured.callers, operator=READER)
        wait_until("the old token to be refused", refused, pause=0.1)
        path.write_text(READER)
        assert next(client.heads("m", timeout=60)).round == 0


def test_tls_alone_is_told_to_a_client_without(secured):
    with Client(secured.daemon.address) as client:
        with pytest.raises(QresError, match="it may speak TLS alone: use https:// or tls_ca. was not reached"):
            client.node(timeout=60)


def test_a_node_that_takes_certificates_alone_says_so(pki, tmp_path):
    certificate, key = pki.server("loopback", "DNS:localhost", "IP:127.0.0.1")
    other = Pki(tmp_path).client("alice")
    flags = ["--grpc-tls-cert", certificate, "--grpc-tls-key", key, "--grpc-client-ca", pki.ca]
    daemon = Daemon(tmp_path, *flags)
    try:
        daemon.start()
        with Client(daemon.address, tls_ca=pki.ca) as client:
            with pytest.raises(QresError) as caught:
                client.node(timeout=60)
            assert caught.value.reason == "CREDENTIAL_MISSING"
        # A certificate that the CA did not sign ends the handshake, so there is no answer of the node.
        with Client(daemon.address, tls_ca=pki.ca, tls_cert=other[0], tls_key=other[1]) as client:
            with pytest.raises(QresError, match="it may want a client certificate, or another one: see tls_cert"):
                client.node(timeout=60)
        certificate, key = pki.client("alice")
        with Client(daemon.address, tls_ca=pki.ca, tls_cert=certificate, tls_key=key) as client:
            client.node(timeout=60)
    finally:
        daemon.kill()


def test_the_example_needs_only_the_environment(secured, pki, tmp_path):
    (tmp_path / "token").write_text(OPERATOR)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("QRES_")},
        "PYTHONPATH": str(CLIENT),
        "QRES_ADDR": f"https://{secured.daemon.address}",
        "QRES_TLS_CA": str(pki.ca),
        "QRES_TOKEN_FILE": str(tmp_path / "token"),
    }
    example = [sys.executable, CLIENT / "examples/trainer.py", "--rounds", "2"]
    done = subprocess.run(example, env=environment, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("round 2: ")
    # Without the token it ends with what the node says.
    del environment["QRES_TOKEN_FILE"]
    done = subprocess.run(example, env=environment, timeout=120, capture_output=True, text=True)
    assert done.returncode != 0 and "CREDENTIAL_MISSING" in done.stderr
