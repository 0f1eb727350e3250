"""What an echo says of a node, and what one that is put off does."""

import pytest

from darkroom_common.echoes.echo import CONFIRM_SECONDS, Echo, Standing
from darkroom_transmit.sending.breaker import THRESHOLD, Breaker

WELL, REFUSED = Echo("", 0.01), Echo("ConnectionRefused", 0.01)


def test_two_failures_in_a_row_are_down_and_one_answer_is_up() -> None:
    first = Standing().after(WELL)
    assert first == Standing("UP")
    blink = first.after(REFUSED)
    assert (blink.state, blink.failures) == ("UP", 1)
    assert blink.after(WELL) == Standing("UP")
    down = blink.after(REFUSED)
    assert (down.state, down.failures) == ("DOWN", 2)
    assert down.after(REFUSED).state == "DOWN"
    assert down.after(WELL) == Standing("UP")
    assert Standing().after(REFUSED).state == ""


def test_the_first_failure_is_looked_at_again_soon_and_all_have_jitter() -> None:
    assert Standing("UP").due(300, 0.5) == 300
    assert Standing("UP").due(300, 0.0) == pytest.approx(270)
    assert Standing("UP").due(300, 1.0) == pytest.approx(330)
    assert Standing("UP", 1).due(300, 0.5) == CONFIRM_SECONDS
    assert Standing("UP", 1).due(2, 0.5) == 2
    assert Standing("DOWN", 2).due(300, 0.5) == 300


def test_an_answer_ends_the_wait_for_a_peer_that_could_not_be_reached_and_no_other() -> None:
    for reason, waits in (("ConnectionRefused", 0.0), ("Aborted", 60.0)):
        breaker = Breaker()
        for _ in range(THRESHOLD):
            breaker.failed(reason, 100.0, 60.0)
        breaker.answered(100.0)
        assert breaker.wait(100.0) == waits
        assert breaker.state() == "open"
        assert breaker.begin()  # whoever comes next is the probe
    closed = Breaker()
    closed.answered(100.0)
    assert closed.wait(100.0) == 0.0
    assert closed.state() == "closed"
