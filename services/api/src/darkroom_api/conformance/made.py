"""Makes what a statement is asked for as: in a worker, or by itself for the command.

`python -m darkroom_api.conformance.made` reads a `StatementTask` as JSON and writes the file.
"""

import sys

from pydantic import TypeAdapter

from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.conformance.printed import document
from darkroom_api.objects.building import pdf
from darkroom_api.objects.making import valid


def printed(task: StatementTask) -> bytes:
    """Return the file that a task asks for.

    Raises:
        NoPicture: the object would not be valid.
    """
    made = document(task.found)
    return valid(pdf(task.attributes, made)) if task.attributes else made


if __name__ == "__main__":
    asked = TypeAdapter(StatementTask).validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(printed(asked))
