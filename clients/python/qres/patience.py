"""How long a call goes on trying, and what it says meanwhile."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

import grpc

from qres.errors import QresError

LOG = logging.getLogger("qres")
PAUSE_MIN = 0.1
"""Seconds: the longest pause after the first failure. It doubles with each further one."""
PAUSE_MAX = 5.0
"""Seconds: the longest pause at all, unless the node itself asks for more."""
SPARE_MIN = 0.01
"""Seconds: with less than this left no further attempt is made."""
SILENCE = 60.0
"""Seconds between two warnings about one outage."""


class Patience:
    """Decides after each failure of one call whether it is tried again, and waits until then.

    `wait` pauses for so many seconds and says whether the client was closed meanwhile.
    """

    def __init__(
        self,
        address: object,
        timeout: float | None,
        wait: Callable[[float], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ):
        self._address = address
        self._wait = wait
        self._clock = clock
        self._chance = chance
        self._end = None if timeout is None else clock() + timeout
        self._failures = 0
        self._warned_at: float | None = None
        self._outage: QresError | None = None

    def left(self) -> float | None:
        """Seconds until the call's time is over; `None` = for ever."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    @property
    def is_down(self) -> bool:
        """Whether the last attempt failed."""
        return self._outage is not None

    def failed(self, error: QresError, *, again: bool = False) -> None:
        """Waits before the next attempt; raises when there is none. With `again` the failure is one that another attempt
        mends, with any code."""
        if error.code == grpc.StatusCode.DEADLINE_EXCEEDED and self._outage is not None:
            # Time ran out without an answer: what was wrong says more than that.
            raise self._outage from error
        if not (again or error.is_passing):
            raise error
        left, asked = self.left(), error.retry_after or 0.0
        spare = None if left is None else left - asked
        if spare is not None and spare < SPARE_MIN:
            raise error
        self._outage = error
        self._warn(error)
        if self._wait(asked + self._pause(spare)):
            raise error

    def reached(self) -> None:
        """The node answered a small call, and the call itself may wait for hours: that ends an outage of the connection,
        not one of the node's disk."""
        if self._outage is not None and not self._outage.reason:
            self._end_outage()

    def progressed(self) -> None:
        """The call itself got further: pauses are short again."""
        self._failures = 0
        self._end_outage()

    def _end_outage(self) -> None:
        if self._outage is not None:
            LOG.info("the node at %s answers again: going on", self._address)
        self._warned_at, self._outage = None, None

    def _pause(self, spare: float | None) -> float:
        """Full jitter: trainers that lost one node do not come back at one moment."""
        longest = min(PAUSE_MAX, PAUSE_MIN * 2 ** min(self._failures, 16))
        self._failures += 1
        return (longest if spare is None else min(longest, spare)) * self._chance()

    def _warn(self, error: QresError) -> None:
        now = self._clock()
        if self._warned_at is None or now - self._warned_at >= SILENCE:
            LOG.warning("the work with the node at %s stands still, trying again: %s", self._address, error)
            self._warned_at = now
