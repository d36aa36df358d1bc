"""How long a call goes on trying, by a clock that only waiting moves."""

import grpc
import numpy as np
import pytest
from qres import QresError
from qres.patience import PAUSE_MAX, Patience


class Time:
    """A clock that only waiting moves."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def wait(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds
        return False


def patience(time, timeout=None, chance=lambda: 1.0):
    return Patience("host:1", timeout, time.wait, clock=lambda: time.now, chance=chance)


def broken(retry_after=None, reason=""):
    return QresError(grpc.StatusCode.UNAVAILABLE, "gone", reason, "", retry_after)


def test_pauses_double_to_a_limit_with_full_jitter_and_begin_anew_after_progress():
    time = Time()
    trying = patience(time)
    for _ in range(8):
        trying.failed(broken())
    assert np.allclose(time.pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, PAUSE_MAX, PAUSE_MAX])
    trying.progressed()
    trying.failed(broken())
    assert time.pauses[-1] == 0.1
    trying.failed(broken(retry_after=2))
    assert time.pauses[-1] == 2.2
    patience(time, chance=lambda: 0.25).failed(broken())
    assert time.pauses[-1] == 0.025


def test_pauses_fit_into_the_time_that_is_left():
    time = Time()
    trying = patience(time, timeout=1.0, chance=lambda: 0.5)
    error = broken()
    with pytest.raises(QresError) as caught:
        while True:
            trying.failed(error)
    assert caught.value is error and 0.9 < time.now <= 1.0
    with pytest.raises(QresError):
        patience(time, timeout=1.0).failed(broken(retry_after=1.0))


def test_time_that_runs_out_while_nobody_answers_is_told_as_what_was_wrong():
    trying, late = patience(Time()), QresError(grpc.StatusCode.DEADLINE_EXCEEDED, "late", "", "", None)
    with pytest.raises(QresError, match="late"):
        trying.failed(late)
    trying.failed(broken())
    with pytest.raises(QresError, match="gone"):
        trying.failed(late)
    trying.reached()
    with pytest.raises(QresError, match="late"):
        trying.failed(late)


def test_a_long_outage_is_told_each_minute(caplog):
    caplog.set_level("INFO", "qres")
    time = Time()
    trying = patience(time)
    while time.now < 150:
        trying.failed(broken())
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    trying.reached()
    trying.reached()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3 + ["INFO"]


def test_a_full_disk_does_not_end_with_a_small_answer(caplog):
    caplog.set_level("INFO", "qres")
    trying = patience(Time())
    trying.failed(broken(reason="DISK_FULL"))
    trying.reached()
    assert trying.is_down
    trying.progressed()
    assert not trying.is_down


@pytest.mark.parametrize(
    ("code", "message", "reason", "passing"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "", True),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", "", True),
        (grpc.StatusCode.UNKNOWN, "Stream removed", "", True),
        (grpc.StatusCode.CANCELLED, "RST_STREAM with code 8", "", True),
        (grpc.StatusCode.CANCELLED, "Locally cancelled by application!", "", False),
        (grpc.StatusCode.INTERNAL, "RST_STREAM", "STORE", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "", False),
    ],
)
def test_what_passes(code, message, reason, passing):
    assert QresError(code, message, reason, "", None).is_passing == passing
