"""Associations are counted over the processes that share a port."""

from darkroom_common.dimse.census import ROW, Census, clear


def test_processes_see_each_other() -> None:
    memory = memoryview(bytearray(ROW * 2))
    one, two = Census(memory, 0), Census(memory, 1)
    assert one.enter("10.0.0.1") == (1, 1)
    assert two.enter("10.0.0.1") == (2, 2)
    assert two.enter("10.0.0.2") == (3, 1)
    one.leave("10.0.0.1")
    assert two.enter("10.0.0.1") == (3, 2)


def test_a_killed_process_is_forgotten() -> None:
    memory = memoryview(bytearray(ROW * 2))
    one, two = Census(memory, 0), Census(memory, 1)
    for _ in range(5):
        one.enter("10.0.0.1")
    two.enter("10.0.0.1")
    clear(memory, 0)
    assert two.enter("10.0.0.1") == (2, 2)


def test_alone_without_shared_memory() -> None:
    census = Census()
    assert census.enter("::1") == (1, 1)
    census.leave("::1")
    assert census.enter("::1") == (1, 1)
