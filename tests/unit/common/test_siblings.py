"""What processes of one service have in common."""

import asyncio
import mmap
import socket

from darkroom_common.siblings import Kept, Word


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


async def test_an_answer_that_nobody_waits_for_any_more_is_passed_over() -> None:
    ours, theirs = socket.socketpair()
    kept = Kept(0, 0, ours)
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    asking = asyncio.create_task(kept.ask(b"ready"))
    assert await reader.readline() == b"ready 1\n"
    writer.write(b'[0, "late"]\n[1, "now"]\n')
    assert await asking == "now"
    writer.close()
    kept.close()
