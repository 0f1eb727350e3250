"""SQL with names that are not known until it runs: a schema, a table, a column.

PostgreSQL takes values as bind parameters, but no names. Here is the one place that puts names into
a statement, and it takes nothing but names.
"""

import re
from functools import cache
from typing import Final

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@cache
def statement(text: str, **names: str) -> str:
    """Return SQL with each `{word}` replaced by the name given for it.

    Raises:
        ValueError: it is not the plain name of a schema, table or column.
        KeyError: a name is missing.
    """
    for name in names.values():
        if not _NAME.fullmatch(name):
            raise ValueError("not the name of a schema, table or column")
    return text.format_map(names)
