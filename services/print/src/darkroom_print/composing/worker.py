"""`python -m darkroom_print.composing.worker`: draws pages and boxes, one after the other.

A process of its own, since a decoder that meets a hostile frame may crash, loop or want all memory
there is. Tasks come as lines of JSON on standard input and answers go as lines to standard output;
the process ends with its input.
"""

import os

from darkroom_common.errors import ConfigurationError, PermanentError
from darkroom_common.workers.answering import answer_tasks
from darkroom_print.composing.compose import draw_box, draw_page
from darkroom_print.composing.exchange import DRAWN, TASK, BoxTask, Drawn, PageTask
from darkroom_print.composing.sheet import create_sheet, open_sheet


def answer(task: BoxTask | PageTask) -> Drawn:
    """Do one task and return its answer: it is done, or why it is not."""
    try:
        return _draw(task)
    except ConfigurationError as error:  # no fonts: another day there may be
        return Drawn(error=str(error), transient=True)
    except PermanentError as error:
        return Drawn(error=str(error))
    except MemoryError:
        return Drawn(error="it needs more memory than composing may use")
    except OSError as error:
        return Drawn(error=f"file: {os.strerror(error.errno or 0)}", transient=True)
    except Exception as error:  # noqa: BLE001 - whatever a library raises for a hostile object; its text may hold values
        return Drawn(error=f"it cannot be drawn ({type(error).__name__})")


def _draw(task: BoxTask | PageTask) -> Drawn:
    if isinstance(task, PageTask):
        sheet = create_sheet(task.plan, task.sheet)
        return Drawn(draw_page(task.plan, sheet, task.first, task.filled))
    return draw_box(task.plan, open_sheet(task.plan, task.sheet), task.picture, task.position)


def _answered(line: bytes) -> list[bytes]:
    return [DRAWN.dump_json(answer(TASK.validate_json(line))), b"\n"]


if __name__ == "__main__":
    answer_tasks(_answered)
