"""What a client shows of itself, and the CA by which it knows the node."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc

from qres.address import Address
from qres.bearer import TokenFile, checked

PathLike = str | os.PathLike[str]

_ALONE = (("tls_ca",), ("tls_name",), ("tls_cert", "tls_key"), ("token", "token_file"))
"""Settings that belong together: if one of them is an argument, the environment is not asked for the others."""


@dataclass(frozen=True)
class Credentials:
    """The credentials of a client. Without any it shows nothing, and trusts the system's CAs where the address begins with
    `https://`."""

    tls_ca: PathLike | None = None
    """A file with the CA of the node's certificate, PEM. Without it the system's CAs hold."""
    tls_cert: PathLike | None = None
    """A file with the client's certificate chain, PEM."""
    tls_key: PathLike | None = None
    """A file with the certificate's private key, PEM."""
    tls_name: str | None = None
    """The name that the node's certificate must have, if it is not the address's host."""
    token: str | None = field(default=None, repr=False)
    """The bearer token."""
    token_file: PathLike | None = None
    """A file with the bearer token. It is read again for each call."""

    def __post_init__(self) -> None:
        for here, missing in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if getattr(self, here) is not None and getattr(self, missing) is None:
                raise ValueError(f"{_named(missing)} is missing: {here} needs it")
        if self.token is not None and self.token_file is not None:
            raise ValueError(f"{_named('token')} and {_named('token_file')} are both set: give one of them")
        if self.token is not None:
            checked(self.token)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ, **arguments: PathLike | None) -> Credentials:
        """Takes the arguments, and from the environment what they leave open. Empty variables count as not set."""
        found: dict[str, PathLike | None] = {}
        for group in _ALONE:
            given = {name: arguments.get(name) for name in group}
            if all(value is None for value in given.values()):
                given = {name: environment.get(_variable(name), "").strip() or None for name in group}
                if given.get("token_file"):
                    # As for the tool `qres`: the file wins over the variable with the token itself.
                    given["token"] = None
            found.update(given)
        return cls(**found)  # type: ignore[arg-type]

    def applied_to(self, address: Address) -> Address:
        """The address with TLS, if these credentials need it. A socket needs none."""
        if address.path:
            return address
        tls = address.tls or self.tls_ca is not None or self.tls_cert is not None
        if self.tls_name is not None and not tls:
            raise ValueError(f"{_named('tls_name')} needs TLS, and {address} has none: use https:// or tls_ca")
        return replace(address, tls=tls)

    def token_for(self, address: Address) -> Callable[[], str] | None:
        """What says the token for a call to this address. A token that others could read on its way is an error."""
        token, file = self.token, self.token_file
        if token is None and file is None:
            return None
        if not address.tls and not address.is_local:
            raise ValueError(f"a token for {address} could be read on its way: use https:// or tls_ca")
        if file is not None:
            return TokenFile(file)
        return lambda: token or ""

    def for_channel(self) -> grpc.ChannelCredentials:
        """Reads the files for a channel with TLS. `ValueError` says which one is not as it should be.

        gRPC's library would take any bytes, and every call would fail with a text that names no file.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        roots, chain, key = None, None, None
        if self.tls_ca is None:
            roots = _system_roots()
        else:
            roots = _read("tls_ca", self.tls_ca)
            try:
                context.load_verify_locations(self.tls_ca)
            except ssl.SSLError:
                raise ValueError(f"{_named('tls_ca')}: {os.fspath(self.tls_ca)} has no certificate in PEM") from None
        if self.tls_cert is not None and self.tls_key is not None:
            chain, key = _read("tls_cert", self.tls_cert), _read("tls_key", self.tls_key)
            try:
                # An encrypted key would need a password: the user is not asked for one.
                context.load_cert_chain(self.tls_cert, self.tls_key, password="")
            except ssl.SSLError as error:
                what = f"{os.fspath(self.tls_cert)} and {os.fspath(self.tls_key)}"
                problem = "are no certificate and its private key (without a password) in PEM"
                raise ValueError(f"{_named('tls_cert')} and {_named('tls_key')}: {what} {problem}: {error}") from None
        return grpc.ssl_channel_credentials(roots, key, chain)


def _variable(name: str) -> str:
    return f"QRES_{name.upper()}"


def _named(name: str) -> str:
    """A setting, as an argument and as a variable."""
    return f"{name} ({_variable(name)})"


def _read(name: str, path: PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{_named(name)}: {error}") from None


def _system_roots() -> bytes | None:
    """The system's CAs, PEM. `None` if there are none, or if gRPC's own variable names others: then its library decides."""
    if os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    found = [ssl.DER_cert_to_PEM_cert(der).encode() for der in context.get_ca_certs(binary_form=True)]
    folder = ssl.get_default_verify_paths().capath
    if not found and folder:
        # OpenSSL looks into a folder only when it needs a certificate: by the hash of its name.
        entries = sorted(Path(folder).iterdir())
        found = [entry.read_bytes() for entry in entries if re.fullmatch(r"[0-9a-f]{8}\.\d+", entry.name)]
    return b"\n".join(found) or None
