"""How the api hands the body of a STOW request on to ingest, and what ingest says of it.

One HTTP/1.1 request a body: `POST /stow`, with the Content-Type of the client, `Expect:
100-continue` and the chunked coding. Ingest answers 100 when it has room, or at once with a
status that it refuses the body by, before a byte of it has been read; and in the end 200 with an
`Outcome`. Who calls has to know a key of the installation: nobody but the api may store so.
"""

import base64
import hashlib
import hmac
import re
from typing import Final

from pydantic import BaseModel

from darkroom_common.clock import Clock

PATH: Final = "/stow"
PROOF: Final = "darkroom-proof"
STUDY: Final = "darkroom-study"
"""Of the study that all objects have to be of; absent: of any."""
LEEWAY_SECONDS: Final = 120
_PURPOSE: Final = b"darkroom stow handover v1"
_PROOF: Final = re.compile(r"(\d{1,12})\.([0-9a-f]{64})")


class Item(BaseModel):
    """What has become of one object.

    Attributes:
        failure: Failure Reason (0008,1197); 0: it is stored.
        warning: Warning Reason (0008,1196) of a stored one; 0: none.
        code: a word of why, from a closed list.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    failure: int = 0
    warning: int = 0
    code: str = ""


class Outcome(BaseModel):
    """What has become of a body.

    Attributes:
        items: objects, in the order in which they were settled.
        fault: a word of why what followed was not read; empty: all was.
    """

    items: list[Item] = []
    fault: str = ""


class Proof:
    """Makes and checks the field by which ingest knows the api.

    Args:
        key: a secret that both have; what is used is derived from it, for this alone.
        clock: of this host; the hosts' clocks must agree within `LEEWAY_SECONDS`.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = hmac.digest(key, _PURPOSE, hashlib.sha256)
        self._clock = clock

    def make(self, content_type: str, study: str) -> str:
        """Return the value of the field for a request."""
        moment = str(int(self._clock.now().timestamp()))
        return f"{moment}.{self._of(moment, content_type, study)}"

    def holds(self, proof: str, content_type: str, study: str) -> bool:
        """Tell whether a request comes from who has the key, and is not old."""
        found = _PROOF.fullmatch(proof)
        if found is None:
            return False
        age = self._clock.now().timestamp() - int(found[1])
        expected = self._of(found[1], content_type, study)
        return hmac.compare_digest(found[2], expected) and abs(age) <= LEEWAY_SECONDS

    def _of(self, moment: str, content_type: str, study: str) -> str:
        said = [base64.b64encode(one.encode()) for one in (moment, content_type, study)]
        return hmac.new(self._key, b".".join(said), hashlib.sha256).hexdigest()
