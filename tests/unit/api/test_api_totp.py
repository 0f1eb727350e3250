"""One-time codes against the test vectors of RFC 6238, and what an authenticator reads."""

from urllib.parse import parse_qs, urlsplit

import pytest

from darkroom_api.accounts.totp import code_at, uri_of

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_the_standard(seconds: int, code: str) -> None:
    """Appendix B has eight digits; six are the last six of them."""
    assert code_at(SECRET, seconds // 30) == code[2:]


def test_what_an_authenticator_reads() -> None:
    address = urlsplit(uri_of(SECRET, "radia p@x:y"))
    assert (address.scheme, address.netloc) == ("otpauth", "totp")
    assert address.path == "/Darkroom%3Aradia%20p%40x%3Ay"
    assert parse_qs(address.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["Darkroom"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }
