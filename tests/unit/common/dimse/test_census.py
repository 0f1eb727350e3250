"""Associations are counted over the processes that share a port."""

from darkroom_common.dimse.census import ROW, Census, clear


def test_processes_see_each_other() -> None:
    memory = memoryview(bytearray(ROW * 2))
    one, two = Census(memory, 0), Census(memory, 1)
    assert one.enter("10.0.0.1", "CT") == (1, 1, 1)
    assert two.enter("10.0.0.1", "MR") == (2, 2, 1)
    assert two.enter("10.0.0.2", "CT") == (3, 1, 2)
    one.leave("10.0.0.1", "CT")
    assert two.enter("10.0.0.1", "CT") == (3, 2, 2)


def test_a_killed_process_is_forgotten() -> None:
    memory = memoryview(bytearray(ROW * 2))
    one, two = Census(memory, 0), Census(memory, 1)
    for _ in range(5):
        one.enter("10.0.0.1", "CT")
    two.enter("10.0.0.1", "CT")
    clear(memory, 0)
    assert two.enter("10.0.0.1", "CT") == (2, 2, 2)


def test_each_process_knows_the_fewest_of_the_others() -> None:
    memory = memoryview(bytearray(ROW * 3))
    one, two, three = (Census(memory, row) for row in range(3))
    for census, times in ((one, 3), (two, 1), (three, 2)):
        for _ in range(times):
            census.enter("10.0.0.1", "CT")
    assert [census.least_elsewhere() for census in (one, two, three)] == [1, 2, 1]
    clear(memory, 1)  # it was killed: who comes is for it as soon as it is back
    assert one.least_elsewhere() == 0
    assert Census().least_elsewhere() is None


def test_alone_without_shared_memory() -> None:
    census = Census()
    assert census.enter("::1", "CT") == (1, 1, 1)
    census.leave("::1", "CT")
    assert census.enter("::1", "CT") == (1, 1, 1)


def test_those_that_share_buckets_are_told_apart() -> None:
    census = Census()
    for number in range(500):
        census.enter(f"10.0.{number // 250}.{number % 250}", f"AE{number}")
    counts = [census.enter("10.1.0.1", f"NEW{number}").of_ae for number in range(200)]
    assert sum(count > 1 for count in counts) <= 2
