"""`python -m darkroom_transmit.masking.worker`: makes objects anonymous, one after the other.

As `darkroom_transmit.conversion.worker`; the `change` of a task has the rules of burned-in pixels.
"""

from typing import Any

import orjson
from pydicom.dataset import Dataset

from darkroom_common.transcoding import worker
from darkroom_common.workers.answering import answer_tasks
from darkroom_transmit.conversion.deidentify import Deidentification
from darkroom_transmit.masking.rules import blank, parse_rules


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task and return its answer: the masked file, or why there is none."""
    if task["change"] is None:  # it is only to be decoded
        return worker.answer(task)
    options, key, text = task["change"]
    rules = parse_rules(text)
    how = Deidentification(frozenset(options), bytes.fromhex(key))

    def edit(dataset: Dataset) -> None:
        blank(dataset, rules)
        how.edit(dataset)

    return worker.answer(task, edit)


def _answered(line: bytes) -> list[bytes]:
    return [orjson.dumps(answer(orjson.loads(line))), b"\n"]


if __name__ == "__main__":
    answer_tasks(_answered)
