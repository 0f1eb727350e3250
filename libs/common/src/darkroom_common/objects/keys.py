"""Where an object lives: a key made from a template, without identifying text (STO-01)."""

import hashlib
import hmac
import re
import string
from dataclasses import dataclass
from typing import Final, Self

from darkroom_common.dicom.identity import Identity
from darkroom_common.errors import ConfigurationError

DEFAULT_TEMPLATE: Final = "{patient}/{study}/{series}/{instance}.{digest}.dcm"
_FIELDS: Final = frozenset({"patient", "study", "series", "instance", "digest"})
_NEEDED: Final = frozenset({"instance", "digest"})
_PLAIN: Final = re.compile(r"^[0-9A-Za-z][0-9A-Za-z.\-]{0,63}$")


def component(uid: str) -> str:
    """Return a UID as a part of a path: itself when that is safe, a hash when not."""
    if _PLAIN.match(uid) and not uid.endswith("."):
        return uid
    return "h-" + hashlib.sha256(uid.encode()).hexdigest()[:40]


@dataclass(frozen=True, repr=False)
class KeyTemplate:
    """Makes object keys. The patient's part is a pseudonym under a secret key."""

    template: str
    pseudonym_key: bytes

    @classmethod
    def parse(cls, template: str, *, pseudonym_key: bytes) -> Self:
        """Check a template.

        Raises:
            ConfigurationError: it has unknown fields or lacks one that keeps keys distinct.
        """
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(template) if name}
        except ValueError as error:
            raise ConfigurationError(f"KEY_TEMPLATE: {error}") from error
        parts = template.split("/")
        if (
            fields - _FIELDS
            or _NEEDED - fields
            or any(part in ("", ".", "..") for part in parts)
            or not re.match(r"^[0-9A-Za-z{}/._\-]+$", template)
        ):
            raise ConfigurationError(
                f"KEY_TEMPLATE takes {', '.join(sorted(_FIELDS))} and needs instance and digest"
            )
        return cls(template, pseudonym_key)

    def key(self, identity: Identity, sha256: str) -> str:
        """Return the key of an object; other bytes under the same UID get another key."""
        return self.template.format(
            patient=self.pseudonym(identity.patient_key),
            study=component(identity.study_instance_uid),
            series=component(identity.series_instance_uid),
            instance=component(identity.sop_instance_uid),
            digest=sha256[:16],
        )

    def pseudonym(self, patient_key: bytes) -> str:
        """Return the patient's part: the same for the same id and issuer, telling nothing."""
        if not patient_key:
            return "unidentified"
        return hmac.digest(self.pseudonym_key, patient_key, hashlib.sha256)[:12].hex()
