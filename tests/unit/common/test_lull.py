"""How long a worker waits between two looks."""

from darkroom_common.lull import FIRST_SECONDS, LAST_SECONDS, Lull


def test_pauses_grow_to_a_last_one_and_are_short_again_after_work() -> None:
    lull = Lull()
    pauses = [lull.pause() for _ in range(5)]
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert (pauses[0], pauses[-1]) == (FIRST_SECONDS, LAST_SECONDS)
    lull.over()
    assert [lull.pause(), lull.pause()] == [1.0, 2.0]
