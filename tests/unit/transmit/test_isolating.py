"""Whose fault it is, and what counts as an attempt: pure decisions of sending."""

from darkroom_transmit.sending.suspicion import MOST_IN_A_ROW, Suspicion


def test_the_rest_is_sent_until_too_many_go_wrong_in_a_row() -> None:
    suspicion = Suspicion()
    for number in range(10):
        for one in range(MOST_IN_A_ROW - 1):
            assert not suspicion.blames_destination(f"{number}.{one}", alone=False, proven=False)
        suspicion.arrived()
    for one in range(MOST_IN_A_ROW - 1):
        assert not suspicion.blames_destination(f"{one}", alone=False, proven=True)
    assert suspicion.blames_destination("last", alone=False, proven=True)


def test_the_same_object_again_and_again_is_one() -> None:
    suspicion = Suspicion()
    for _ in range(10):
        assert not suspicion.blames_destination("1.2", alone=True, proven=False)
    assert suspicion.blames_destination("1.3", alone=True, proven=False)
    assert not suspicion.blames_destination("1.3", alone=True, proven=True)
