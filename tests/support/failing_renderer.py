"""A rendering worker whose decoder does what the key of the object says."""

import os
import signal
from collections.abc import Iterator

from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.objects.exchange import MakeTask
from darkroom_api.rendering.exchange import MADE, TASK, FramesTask, Made
from darkroom_common.workers.answering import answer_tasks


def answer(line: bytes) -> Iterator[bytes]:
    """Make three bytes for each frame."""
    task = TASK.validate_json(line)
    count = len(task.frames or ()) if isinstance(task, FramesTask) else 1
    for number in range(count):
        match "" if isinstance(task, MakeTask | StatementTask) else task.place.key:
            case "crash":
                os._exit(11)
            case "hang":
                signal.pause()  # for good
            case "crash-later" if number == 1:
                os._exit(11)
            case "cannot":
                yield MADE.dump_json(Made(error="cannot", reason="it is empty")) + b"\n"
                return
        yield MADE.dump_json(Made(3, count - number - 1, "1.2")) + b"\n"
        yield b"abc"


if __name__ == "__main__":
    answer_tasks(answer)
