"""`python -m tests.support.dying_masking DATA RULES`: a masking that dies on its way."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkroom_local.recovery.masking import How, mask


def die(_line: Mapping[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    data, rules = sys.argv[1:]
    mask(Path(data), How(rules=Path(rules)), tell=die)


if __name__ == "__main__":
    main()
