"""The signed licence document: what counts, and all that does not."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from darkroom_common.errors import ConfigurationError
from darkroom_licensing.document import Document, InvalidLicence, in_force, public_keys, read, sign

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()
KEYS = {"2026": KEY.public_key()}
FIELDS: dict[str, Any] = {
    "licence_id": "L-1",
    "installation": "clinic-7",
    "issued_at": AT,
    "valid_from": AT,
    "valid_until": AT + timedelta(days=365),
    "limits": {"destinations": 3},
}
TEXT = sign(Document(**FIELDS), KEY, name="2026")


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(header: object, payload: object, key: Ed25519PrivateKey = KEY) -> str:
    text = f"{part(header)}.{part(payload)}"
    signature = base64.urlsafe_b64encode(key.sign(text.encode())).rstrip(b"=").decode()
    return f"{text}.{signature}"


PAYLOAD = json.loads(Document(**FIELDS).model_dump_json())
HEADER = {"alg": "EdDSA", "typ": "darkroom-licence", "kid": "2026"}


def test_what_was_signed_is_read() -> None:
    assert read(f" {TEXT}\n", KEYS, installation="clinic-7") == Document(**FIELDS)
    later = signed(HEADER, {**PAYLOAD, "later": 1})
    assert read(later, KEYS, installation="clinic-7") == Document(**FIELDS)


NOT_FOR_US = {
    "empty": "",
    "two parts": "a.b",
    "three letters": "a.b.c",
    "too long": "x" * 70_000,
    "no payload": TEXT.replace(".", "..", 1),
    "another signature": TEXT[:-3] + ("AAA" if TEXT[-3:] != "AAA" else "BBB"),
    "another payload": TEXT.partition(".")[0]
    + "."
    + part({**PAYLOAD, "limits": {}})
    + "."
    + TEXT.split(".")[2],
    "algorithm none": signed({**HEADER, "alg": "none"}, PAYLOAD),
    "algorithm HS256": signed({**HEADER, "alg": "HS256"}, PAYLOAD),
    "of another type": signed({**HEADER, "typ": "JWT"}, PAYLOAD),
    "an extension that nobody knows": signed({**HEADER, "crit": ["exp"]}, PAYLOAD),
    "a key that nobody knows": signed({**HEADER, "kid": "2027"}, PAYLOAD),
    "a list for a key": signed({**HEADER, "kid": ["2026"]}, PAYLOAD),
    "signed by another": signed(HEADER, PAYLOAD, Ed25519PrivateKey.generate()),
    "a list for a header": signed([HEADER], PAYLOAD),
    "a list for a payload": signed(HEADER, [PAYLOAD]),
    "another format": signed(HEADER, {**PAYLOAD, "format": 2}),
    "a limit below zero": signed(HEADER, {**PAYLOAD, "limits": {"destinations": -1}}),
    "ends as it begins": signed(HEADER, {**PAYLOAD, "valid_until": PAYLOAD["valid_from"]}),
    "a time without a zone": signed(HEADER, {**PAYLOAD, "valid_from": "2026-11-26T12:00:00"}),
    "of another installation": signed(HEADER, {**PAYLOAD, "installation": "clinic-8"}),
    "a letter beyond ASCII": TEXT.replace("e", "é", 1),
}


@pytest.mark.parametrize("text", NOT_FOR_US.values(), ids=NOT_FOR_US)
def test_what_was_not_signed_for_us_as_it_is_says_nothing(text: str) -> None:
    with pytest.raises(InvalidLicence) as raised:
        read(text, KEYS, installation="clinic-7")
    assert "darkroom-licence" not in str(raised.value)


def test_every_changed_character_is_seen() -> None:
    for at in range(0, len(TEXT), 7):
        other = "A" if TEXT[at] != "A" else "B"
        with pytest.raises(InvalidLicence):
            read(TEXT[:at] + other + TEXT[at + 1 :], KEYS, installation="clinic-7")


@pytest.mark.parametrize(
    ("moment", "covers"),
    [
        (AT - timedelta(seconds=1), False),
        (AT, True),
        (AT + timedelta(days=365, seconds=-1), True),
        (AT + timedelta(days=365), False),
    ],
)
def test_a_licence_covers_from_its_first_moment_until_its_end(
    moment: datetime, *, covers: bool
) -> None:
    assert in_force(Document(**FIELDS), moment) is covers


def test_keys_are_32_bytes_each() -> None:
    good = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    assert set(public_keys({"a": good, "b": good})) == {"a", "b"}
    for bad in ("", "%%", good[:-4], f"{good}AAAA"):
        with pytest.raises(ConfigurationError, match="LICENCE_PUBLIC_KEYS: b"):
            public_keys({"a": good, "b": bad})


def test_several_keys_may_sign_while_one_takes_the_place_of_another() -> None:
    new = Ed25519PrivateKey.generate()
    both = {**KEYS, "2027": new.public_key()}
    old = sign(Document(**FIELDS), KEY, name="2026")
    for text in (old, sign(Document(**FIELDS), new, name="2027")):
        assert read(text, both, installation="clinic-7").licence_id == "L-1"
    with pytest.raises(InvalidLicence):
        read(sign(Document(**FIELDS), new, name="2026"), both, installation="clinic-7")
