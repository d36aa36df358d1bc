"""What a client shows, and to whom: without a network."""

import re
import subprocess

import pytest
from certificates import needs_openssl
from qres import Client
from qres.address import Address
from qres.bearer import TokenFile
from qres.credentials import Credentials

SECRET = "qres_secret"


def test_arguments_win_over_the_environment_and_pairs_stay_together():
    environment = {
        "QRES_TLS_CA": "ca.env",
        "QRES_TLS_NAME": "",
        "QRES_TLS_CERT": "cert.env",
        "QRES_TLS_KEY": "key.env",
        "QRES_TOKEN_FILE": "token.env",
    }
    found = Credentials.of(environment)
    assert found == Credentials("ca.env", "cert.env", "key.env", None, None, "token.env")
    found = Credentials.of(environment, tls_ca="ca", token="t")
    assert (found.tls_ca, found.tls_cert, found.token, found.token_file) == ("ca", "cert.env", "t", None)
    # The key of the environment is another certificate's.
    with pytest.raises(ValueError, match=re.escape("tls_key (QRES_TLS_KEY) is missing: tls_cert needs it")):
        Credentials.of(environment, tls_cert="cert")


def test_the_environment_is_the_client_s(monkeypatch, tmp_path):
    monkeypatch.setenv("QRES_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="the token cannot be read: .*No such file or directory: .*/none"):
        Client("127.0.0.1:1")
    Client("127.0.0.1:1", token="t").close()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tls_cert": "c"}, "tls_key (QRES_TLS_KEY) is missing: tls_cert needs it"),
        ({"tls_key": "k"}, "tls_cert (QRES_TLS_CERT) is missing: tls_key needs it"),
        ({"token": SECRET, "token_file": "f"}, "token (QRES_TOKEN) and token_file (QRES_TOKEN_FILE) are both set"),
        ({"token": ""}, "the token is empty"),
        ({"token": f"{SECRET} x"}, "the token has characters that no token has"),
        ({"token": f"{SECRET}\n"}, "the token has characters that no token has"),
        ({"token": f"{SECRET}\u00e9"}, "the token has characters that no token has"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, problem):
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        Client("localhost:1", **arguments)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:1", "[::1]", "unix:/run/x", "https://node.example"])
def test_a_token_goes_where_others_cannot_read_it(address):
    assert Credentials(token=SECRET).token_for(Address.parse(address))() == SECRET


def test_a_token_goes_nowhere_else(monkeypatch, tmp_path):
    path = tmp_path / "token"
    path.write_text(SECRET)
    problem = re.escape("a token for node.example:4002 could be read on its way: use https:// or tls_ca")
    for arguments in ({"token": SECRET}, {"token_file": path}):
        with pytest.raises(ValueError, match=problem) as caught:
            Client("node.example", **arguments)
        assert SECRET not in str(caught.value)
    monkeypatch.setenv("QRES_TOKEN", SECRET)
    with pytest.raises(ValueError, match=problem):
        Client("http://node.example")


def test_a_token_is_not_shown():
    assert SECRET not in repr(Credentials(token=SECRET))


def test_tls_is_used_with_https_and_with_files_and_never_on_a_socket():
    host, socket = Address.parse("h"), Address.parse("unix:/run/x")
    assert not Credentials(token=SECRET).applied_to(host).tls
    assert Credentials().applied_to(Address.parse("https://h")).tls
    for credentials in (Credentials(tls_ca="ca"), Credentials(tls_cert="c", tls_key="k")):
        assert str(credentials.applied_to(host)) == "https://h:4002"
        assert credentials.applied_to(socket) == socket
    with pytest.raises(
        ValueError, match=re.escape("tls_name (QRES_TLS_NAME) needs TLS, and h:4002 has none: use https://")
    ):
        Credentials(tls_name="n").applied_to(host)


def test_a_token_file_is_read_again_and_its_last_token_holds(tmp_path, caplog):
    path = tmp_path / "token"
    path.write_text("first\n")
    token = TokenFile(path)
    path.write_text("second")
    assert token() == "second"
    path.unlink()
    assert [token(), token()] == ["second"] * 2
    path.write_text("")
    assert token() == "second"
    path.write_text("third")
    assert token() == "third"
    # Each problem once.
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        f"[Errno 2] No such file or directory: '{path}'",
        f"{path}: the token is empty",
    ]


def test_a_token_file_has_a_token_when_the_client_is_made(tmp_path):
    path = tmp_path / "token"
    path.write_text("\n")
    with pytest.raises(ValueError, match="the token cannot be read: .*/token: the token is empty"):
        Client("localhost:1", token_file=path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="the token cannot be read: .*/token: the token has characters"):
        Client("localhost:1", token_file=path)


@needs_openssl
def test_files_that_are_no_certificates_and_keys_are_named(pki, tmp_path):
    (certificate, key), (_, other) = pki.client("alice"), pki.client("bob")
    none, empty, locked = tmp_path / "none", tmp_path / "empty", tmp_path / "locked"
    empty.write_text("")
    encrypt = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked]
    subprocess.run(encrypt, check=True, capture_output=True)
    problems = [
        ({"tls_ca": none}, f"tls_ca (QRES_TLS_CA): [Errno 2] No such file or directory: '{none}'"),
        ({"tls_ca": empty}, f"tls_ca (QRES_TLS_CA): {empty} has no certificate in PEM"),
        ({"tls_ca": key}, f"tls_ca (QRES_TLS_CA): {key} has no certificate in PEM"),
        ({"tls_cert": none, "tls_key": key}, "tls_cert (QRES_TLS_CERT): [Errno 2]"),
        ({"tls_cert": certificate, "tls_key": none}, "tls_key (QRES_TLS_KEY): [Errno 2]"),
    ]
    for wrong in (other, empty, locked, certificate):
        problem = f"{certificate} and {wrong} are no certificate and its private key (without a password) in PEM: "
        problems.append(({"tls_cert": certificate, "tls_key": wrong}, problem))
    for arguments, problem in problems:
        with pytest.raises(ValueError, match=re.escape(problem)):
            Client("localhost:1", **arguments)
    Client("localhost:1", tls_ca=str(pki.ca), tls_cert=str(certificate), tls_key=str(key)).close()


@needs_openssl
def test_the_system_s_roots_may_be_a_file_or_a_folder(pki, tmp_path, monkeypatch):
    from qres.credentials import _system_roots

    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    folder = tmp_path / "certs"
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.ca))
    text = pki.ca.read_bytes().strip()
    assert _system_roots().strip() == text
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert _system_roots() is None
    (folder / "0123abcd.0").write_bytes(text)
    (folder / "README").write_text("not a certificate")
    assert _system_roots() == text
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "/other")
    assert _system_roots() is None
