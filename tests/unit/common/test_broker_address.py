"""Where the broker is: whatever would leave its certificate unchecked is refused (BRK-01)."""

import pytest
from pydantic import SecretStr

from darkroom_common.amqp.address import BrokerTls, require_checked

PLACE = "u:p@mq.example:5671/darkroom"


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:p@127.0.0.1:5672/",
        "amqp://u:p@[::1]:5672/",
        "amqp://u:p@localhost/darkroom",
        f"amqp://{PLACE}?sslmode=disable",
        f"amqps://{PLACE}",
        f"amqps://{PLACE}?cafile=/run/tls/ca.pem",
        f"amqps://{PLACE}?cafile=/ca.pem&certfile=/c.pem&keyfile=/k.pem",
    ],
)
def test_it_may_be_called(url: str) -> None:
    assert require_checked(SecretStr(url)).get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        f"amqps://{PLACE}?no_verify_ssl=1",
        f"amqps://{PLACE}?cafile=/ca.pem&no_verify_ssl",
        f"amqps://{PLACE}?certfile=/c.pem",
        f"amqp://{PLACE}",
        "amqp://u:p@10.0.0.5/",
        f"amqp://{PLACE}?sslmode=prefer",
        f"http://{PLACE}",
        PLACE,
    ],
)
def test_it_is_refused_without_a_word_of_the_secret(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"^(it begins|of options|certfile|a broker on another)"
    ) as refusal:
        require_checked(SecretStr(url))
    assert "u:p" not in str(refusal.value)


def test_only_amqps_has_tls() -> None:
    assert BrokerTls(f"amqp://{PLACE}").context() is None
    context = BrokerTls(f"amqps://{PLACE}").context()
    assert context is not None
    assert context.check_hostname
