"""`python -m darkroom_common.transcoding.worker`: converts objects, one after the other.

A process of its own, since a decoder that meets a hostile frame may crash, loop or want all memory
there is. Tasks come as lines of JSON on standard input and answers go as lines to standard output;
the process ends with its input.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from pydicom.dataset import Dataset

from darkroom_common.pixels.faults import Unconvertible
from darkroom_common.transcoding.transcode import convert
from darkroom_common.validation.findings import Severity, named
from darkroom_common.validation.validate import validate
from darkroom_common.workers.answering import answer_tasks

_MOST_FAULTS = 10


def _faults(file: Path) -> list[str]:
    """Return what makes a file no valid object."""
    with file.open("rb") as opened:
        found = [one for one in validate(opened).findings if one.severity is Severity.ERROR]
    return [
        f"{'the data set' if one.tag is None else named(one.tag)}: {one.kind.value}"
        for one in found[:_MOST_FAULTS]
    ]


def answer(task: dict[str, Any], edit: Callable[[Dataset], None] | None = None) -> dict[str, Any]:
    """Do one task and return its answer: the converted file, or why there is none; or faults."""
    try:
        if "validate" in task:
            return {"faults": _faults(Path(task["validate"]))}
        made = convert(Path(task["source"]), Path(task["target"]), task["wanted"], edit=edit)
    except Unconvertible as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "it needs more memory than a conversion may use"}
    except OSError as error:
        return {"error": f"file: {os.strerror(error.errno or 0)}", "transient": True}
    except Exception as error:  # noqa: BLE001 - whatever pydicom raises for a hostile object; its text may hold values
        return {"error": f"it cannot be read ({type(error).__name__})"}
    return {
        "transfer_syntax_uid": made.transfer_syntax_uid,
        "sop_class_uid": made.sop_class_uid,
        "sop_instance_uid": made.sop_instance_uid,
        "offset": made.offset,
        "size": made.size,
        "left_out": made.left_out,
    }


def _answered(line: bytes) -> list[bytes]:
    return [orjson.dumps(answer(orjson.loads(line))), b"\n"]


if __name__ == "__main__":
    answer_tasks(_answered)
