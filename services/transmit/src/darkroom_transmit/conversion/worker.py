"""`python -m darkroom_transmit.conversion.worker`: converts objects, and de-identifies them.

As `darkroom_common.transcoding.worker`; what a task has to `change` is a profile.
"""

from typing import Any

import orjson

from darkroom_common.transcoding import worker
from darkroom_common.workers.answering import answer_tasks
from darkroom_transmit.conversion.deidentify import Deidentification


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task and return its answer: the converted file, or why there is none."""
    if task["change"] is None:
        return worker.answer(task)
    options, key = task["change"]
    edit = Deidentification(frozenset(options), bytes.fromhex(key)).edit
    return worker.answer(task, edit)


def _answered(line: bytes) -> list[bytes]:
    return [orjson.dumps(answer(orjson.loads(line))), b"\n"]


if __name__ == "__main__":
    answer_tasks(_answered)
