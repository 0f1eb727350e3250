"""The frames that are encoded by hand are those that pamqp makes."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from darkroom_common.amqp.frames import Outgoing, encode
from darkroom_common.errors import PermanentError

NAMES = st.text(max_size=60)


def read_back(data: bytes) -> list[object]:
    found: list[object] = []
    while data:
        used, channel, one = frame.unmarshal(data)
        assert channel == 7
        found.append(one)
        data = data[used:]
    return found


@given(
    message_id=NAMES,
    routing_key=NAMES,
    headers=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=300)),
    body=st.binary(max_size=5000),
    mandatory=st.booleans(),
)
def test_pamqp_reads_what_is_encoded(
    message_id: str, routing_key: str, headers: dict[str, str], body: bytes, mandatory: bool
) -> None:
    outgoing = Outgoing(
        message_id=message_id,
        type="a.type.v1",
        exchange="darkroom.events",
        routing_key=routing_key,
        mandatory=mandatory,
        timestamp=1_700_000_000,
        headers=headers,
        body=body,
    )
    method, head, *bodies = read_back(encode(outgoing, channel=7, app_id="me", frame_max=1024))
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key) == ("darkroom.events", routing_key)
    assert (method.mandatory, method.immediate) == (mandatory, False)
    assert isinstance(head, ContentHeader)
    assert head.body_size == len(body)
    told = head.properties
    assert told.content_type == "application/json"
    assert told.headers == headers
    assert (told.delivery_mode, told.message_id) == (2, message_id)
    assert told.timestamp == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (told.message_type, told.app_id) == ("a.type.v1", "me")
    assert (told.priority, told.correlation_id, told.reply_to) == (None, None, None)
    assert (told.expiration, told.user_id, told.content_encoding) == (None, None, None)
    pieces = [one.value for one in bodies if isinstance(one, ContentBody)]
    assert b"".join(pieces) == body
    assert all(len(piece) + 8 <= 1024 for piece in pieces)


def test_a_name_that_amqp_cannot_say_is_refused() -> None:
    outgoing = Outgoing(
        "x" * 256, "t", "e", "r", mandatory=False, timestamp=0, headers={}, body=b"{}"
    )
    with pytest.raises(PermanentError, match="255"):
        encode(outgoing, channel=1, app_id="me", frame_max=4096)


def test_it_is_what_pamqp_would_have_sent() -> None:
    outgoing = Outgoing(
        "id", "t", "e", "r", mandatory=True, timestamp=5, headers={"a": "b"}, body=b"{}"
    )
    expected = b"".join(
        frame.marshal(part, 1)
        for part in (
            Basic.Publish(exchange="e", routing_key="r", mandatory=True),
            ContentHeader(
                body_size=2,
                properties=Basic.Properties(
                    content_type="application/json",
                    headers={"a": "b"},
                    delivery_mode=2,
                    message_id="id",
                    timestamp=datetime.fromtimestamp(5, UTC),
                    message_type="t",
                    app_id="me",
                ),
            ),
            ContentBody(b"{}"),
        )
    )
    assert encode(outgoing, channel=1, app_id="me", frame_max=4096) == expected
    assert expected.count(struct.pack(">B", 0xCE)) >= 3
