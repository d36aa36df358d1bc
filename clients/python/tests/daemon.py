"""A real daemon, in a data directory and on ports that it keeps when it is started again."""

import os
import subprocess
import time
from pathlib import Path

import pytest

PROGRAM = os.environ.get("QRES_DAEMON")
needs_daemon = pytest.mark.skipif(not PROGRAM, reason="QRES_DAEMON names no qres-daemon: these tests need a real one")
PATIENCE = 120.0
"""Seconds after which a condition that does not come about is a failure."""


def wait_until(what, condition, pause=0.01):
    """Waits for something true and returns it."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(pause)
    return value


class Daemon:
    """One node, alone."""

    def __init__(self, folder: Path, *arguments):
        self._arguments = arguments
        self._log = folder / "daemon.log"
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        self._mesh_port = "0"
        self.address = "127.0.0.1:0"
        self._process = None

    def start(self):
        """Starts it and waits until it is ready."""
        if not self._try_start():
            # Now and then the system needs a moment until a port of a killed process can be taken again.
            assert self._mesh_port != "0", f"the daemon does not start: {self._log.read_text()}"
            wait_until(f"the daemon to start, see {self._log}", self._try_start)

    def _try_start(self):
        command = [PROGRAM, "--data-dir", self._data, "--port", self._mesh_port, "--grpc-addr", self.address]
        command += self._arguments
        # The tests' own variables are no settings of a daemon.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QRES_")}
        with open(self._log, "a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )
        for line in self._process.stdout:
            key, _, value = line.strip().partition(" ")
            if key == "grpc":
                self.address = value.strip()
            elif key == "mesh" and "/tcp/" in value:
                self._mesh_port = value.split("/tcp/")[1].split("/")[0]
            elif key == "ready":
                return True
        self._process.wait()
        return False

    def kill(self):
        """Kills it as `kill -9` does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    @property
    def is_up(self):
        """Whether it was started and not killed since."""
        return self._process is not None
