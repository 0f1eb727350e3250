"""What a password must be (API-03)."""

import re
import unicodedata
from typing import Final

from zxcvbn.frequency_lists import FREQUENCY_LISTS

SHORTEST: Final = 8
LONGEST: Final = 256
_COMMON: Final = frozenset(FREQUENCY_LISTS["passwords"])
_OWN_WORDS: Final = frozenset({"darkroom", "hospital", "radiology", "dicom", "pacs"})
_DECORATION: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def faults_of(password: str, *names: str) -> list[str]:
    """Return what a new password lacks, each as a sentence; nothing when it may be used.

    Args:
        password: as it was typed.
        names: of whose it is: no password is one of them with digits and marks around it.
    """
    kinds = {unicodedata.category(one) for one in password}
    bare = _DECORATION.sub("", password).casefold()
    words = {name.casefold() for name in names if name} | _OWN_WORDS
    faults = {
        f"It has at least {SHORTEST} characters.": len(password) < SHORTEST,
        f"It has at most {LONGEST} characters.": len(password) > LONGEST,
        "It has an upper-case letter.": "Lu" not in kinds,
        "It has a lower-case letter.": "Ll" not in kinds,
        "It has a digit.": "Nd" not in kinds,
        "It has a character that is neither letter nor digit.": not any(
            kind[0] in "PSZ" for kind in kinds
        ),
        "It is none of the passwords that are guessed first, nor one with digits and marks around"
        " it.": not _COMMON.isdisjoint({password.casefold(), bare}),
        "It is not a name with digits and marks around it.": bare in words,
    }
    return [sentence for sentence, is_so in faults.items() if is_so]
