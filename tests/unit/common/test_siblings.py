"""What processes of one service have in common."""

import mmap

from darkroom_common.siblings import Word


def test_what_one_says_all_hear_once_and_so_does_who_said_it() -> None:
    memory = mmap.mmap(-1, 16)
    first, second = Word(memory, 0), Word(memory, 1)
    assert not first.heard()
    second.say()
    first.say()
    assert first.heard()
    assert second.heard()
    assert not first.heard()
    assert not second.heard()


def test_a_process_alone_hears_itself() -> None:
    word = Word()
    word.say()
    assert word.heard()
    assert not word.heard()
