"""What the API keeps that PHI_KEYS opens.

Not the audit log: nobody may change it, and its rows are under the key of their time for as long
as they are kept. The files of exports are gone after a day.
"""

from typing import Final

from darkroom_api.accounts import totp
from darkroom_api.bulk import repository as bulk
from darkroom_api.callbacks import repository as callbacks
from darkroom_api.exports.making import FILTERS
from darkroom_api.mail import repository as mail
from darkroom_api.subjects import erasing
from darkroom_common.rekeying import Column, Encrypted, Sealed
from darkroom_common.specs.retention import REMOVAL_PURPOSE

COLUMNS: Final[tuple[Column, ...]] = (
    Encrypted("examination", "physician", row="study_instance_uid"),
    Encrypted("examination_change", "old", "old_key"),
    Encrypted("examination_change", "new", "new_key"),
    Encrypted("examination_change", "reason", "reason_key"),
    Sealed("totp", "sealed", totp.PURPOSE, row="user_id"),
    Sealed("export", "filters", FILTERS),
    Sealed("mail", "sealed", mail.PURPOSE),
    Sealed("bulk_change", "sealed", bulk.PURPOSE),
    Sealed("bulk_change", "errors", bulk.PURPOSE, many=True),
    Sealed("callback", "secret", callbacks.PURPOSE),
    Sealed("callback", "former_secret", callbacks.PURPOSE),
    Sealed("legal_hold", "sealed", REMOVAL_PURPOSE, row="study_instance_uid"),
    Sealed("patient_hold", "sealed", REMOVAL_PURPOSE),
    Sealed("erasure", "sealed", erasing.PURPOSE),
)
