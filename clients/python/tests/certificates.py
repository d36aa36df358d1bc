"""Certificates for the tests, made by openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: these tests need certificates")


class Pki:
    """A CA in a folder, and certificates that it signed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ca = folder / "ca.crt"
        self._key("ca")
        self._run("req", "-x509", "-key", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=tests", "-sha256")

    def server(self, name, *names):
        """A server's certificate and key; the names are as openssl writes them, e.g. `DNS:localhost`."""
        return self._signed(name, f"/CN={name}", "serverAuth", f"subjectAltName={','.join(names)}")

    def client(self, name, role="trainer"):
        """A client's certificate and key: a caller with a role."""
        return self._signed(name, f"/O=qres:{role}/CN={name}", "clientAuth")

    def _signed(self, name, subject, usage, *more):
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not certificate.exists():
            self._key(name)
            self._run("req", "-new", "-key", key, "-out", f"{name}.csr", "-subj", subject)
            lines = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}", *more]
            (self.folder / f"{name}.ext").write_text("\n".join(lines))
            signed = ["x509", "-req", "-in", f"{name}.csr", "-out", certificate, "-days", "2", "-sha256"]
            signed += ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
            self._run(*signed)
        return certificate, key

    def _key(self, name):
        self._run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
        (self.folder / f"{name}.key").chmod(0o600)

    def _run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
