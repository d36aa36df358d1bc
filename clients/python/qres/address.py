"""A node's address, as a person writes it.

The CLI reads the same grammar: `clients/addresses.txt` holds examples that both are tested with.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote

DEFAULT_PORT = 4002
"""Where a node's API listens unless it was told otherwise."""
MESH_PORT = 4001
"""Where nodes talk to each other unless they were told otherwise. No API answers there."""

_UNIX = "unix:"
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6|dnsaddr)/")
_MESH_HINT = f"that is the mesh; the API listens on {DEFAULT_PORT} by default"


@dataclass(frozen=True)
class Address:
    """A host and a port, or the path of a Unix socket on this machine."""

    host: str
    """A name, an IPv4 address, or an IPv6 address without brackets. Empty for a socket."""
    port: int
    """From 1 to 65535; 0 for a socket."""
    tls: bool = False
    """Whether the connection is encrypted by TLS."""
    path: str = ""
    """The absolute path of a Unix socket. Empty for a host."""

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"https://{self._authority}" if self.tls else self._authority

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The address as gRPC's library takes it."""
        if self.path:
            # The library decodes what it reads.
            return f"{_UNIX}{quote(self.path)}"
        # With the scheme a host whose name is one (`unix`, `dns`) stays a host.
        return f"dns:///{self._authority}"

    @property
    def is_local(self) -> bool:
        """Whether no other machine sees what is sent: the address is a socket or loopback. No proxy may come between."""
        if self.path or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `host`, `host:port`, `[v6]` or `[v6]:port`, with or without `http://` or `https://` before and one `/` after.

        Without a port it is 4002. `https://` means TLS. `unix:` and an absolute path is a socket. `ValueError` names the
        text, what is wrong with it, and what to write instead.
        """
        try:
            return cls._parse(text)
        except ValueError as error:
            raise ValueError(f"address {text!r}: {error}") from None

    @classmethod
    def _parse(cls, text: str) -> Address:
        if not text:
            raise ValueError(f"empty: write host:port, e.g. 127.0.0.1:{DEFAULT_PORT}")
        if any(char.isspace() or not char.isprintable() for char in text):
            raise ValueError("a space or a control character: write it without")
        if _MULTIADDR.match(text):
            raise ValueError(f"a multiaddr: {_MESH_HINT}: write host:port")
        if text[: len(_UNIX)].lower() == _UNIX:
            return cls("", 0, path=_socket(text[len(_UNIX) :]))
        tls, rest = _without_scheme(text)
        authority = _authority(rest)
        if authority.startswith("["):
            host, port = _bracketed(authority)
        else:
            host, port = _unbracketed(authority)
        return cls(host, DEFAULT_PORT if port is None else _port(port), tls)


def _socket(text: str) -> str:
    """The path after `unix:`."""
    path = text.removeprefix("//")
    if not path.startswith("/") or path == "/":
        raise ValueError("an absolute path must follow 'unix:', e.g. unix:/run/qres/grpc.sock")
    return path


def _without_scheme(text: str) -> tuple[bool, str]:
    """Whether the scheme means TLS, and the text after it."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return False, text
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f"scheme {scheme!r}: write https://, http:// or no scheme")
    return scheme.lower() == "https", rest


def _authority(text: str) -> str:
    """What names host and port: nothing but one slash may follow it."""
    authority = re.split(r"[/?#]", text, maxsplit=1)[0]
    if "@" in authority:
        raise ValueError("a user before '@': the API knows no users: write host:port alone")
    if text[len(authority) :] not in ("", "/"):
        raise ValueError("a path after the host: write host:port alone")
    return authority


def _bracketed(authority: str) -> tuple[str, str | None]:
    host, mark, rest = authority[1:].partition("]")
    if not mark:
        raise ValueError("'[' without ']': write [IPv6]:port")
    if "%" in host:
        raise ValueError("a zone after '%' is not taken: write an address that needs none")
    if not _is_ipv6(host):
        raise ValueError(f"{host!r} is no IPv6 address: brackets are for those alone")
    if rest and not rest.startswith(":"):
        raise ValueError("after ']' only :port may follow")
    return host, rest[1:] if rest else None


def _unbracketed(authority: str) -> tuple[str, str | None]:
    if authority.count(":") > 1:
        if _is_ipv6(authority):
            raise ValueError(f"an IPv6 address needs brackets: write [{authority}] or [{authority}]:{DEFAULT_PORT}")
        raise ValueError("more than one ':': write host:port, or [IPv6]:port")
    host, mark, port = authority.partition(":")
    if not host:
        raise ValueError(f"no host: write host:port, e.g. 127.0.0.1:{DEFAULT_PORT}")
    # Only letters, digits, '-', '_' and '.' are in names that a resolver is asked for.
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", host):
        raise ValueError(f"host {host!r}: a name has letters, digits, '-' and '_', in parts with '.' between them")
    if re.fullmatch(r"[0-9.]+", host) and not _is_ipv4(host):
        raise ValueError(f"host {host!r} is no IPv4 address: four numbers from 0 to 255, e.g. 127.0.0.1:{DEFAULT_PORT}")
    return host, port if mark else None


def _port(text: str) -> int:
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not 1 <= port <= 65535:
        raise ValueError(f"port {text!r}: a number from 1 to 65535 is expected")
    return port


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
