"""Requests as bytes: what RFC 9112 allows is read alike however it comes, all else is refused."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_common.http.limits import Limits
from darkroom_common.http.wire import BadRequest, Event, Head, Mark, Reader

SMALL = Limits(line_bytes=200, head_bytes=600, fields=8, chunk_line_bytes=32, extra_bytes=64)
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n\r\n"


def read(*pieces: bytes, limits: Limits = SMALL) -> list[Event]:
    """Feed a reader and return all that it tells."""
    reader = Reader(limits)
    found: list[Event] = []
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next()) is not None:
            found.append(event)
    return found


def summary(events: list[Event]) -> list[object]:
    """Return heads, bodies and ends, with the parts of each body together."""
    told: list[object] = []
    for event in events:
        if isinstance(event, bytes) and told and isinstance(told[-1], bytes):
            told[-1] += event
        else:
            told.append(event)
    return told


GOOD = [
    GET + b"\r\n",
    b"\r\n" + GET + b"\r\n",
    b"GET http://other:80/b?c=d HTTP/1.1\r\nHost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    GET + b"X:\r\nY:  a b\t\r\nZ: \xe4\r\n\r\n",
    POST + b"Content-Length: 5\r\n\r\nhello",
    POST + b"Content-Length: 0\r\n\r\n" + GET + b"\r\n",
    CHUNKED + b"5;a=b\r\nhello\r\n1 ; c\r\n!\r\n0\r\nTrailer: x\r\n\r\n" + GET + b"\r\n",
    GET + b"\r\n" + GET + b"\r\n",
    b"GET /%C3%A4?%00 HTTP/1.1\r\nHost: [fe80::1%25eth0]:8080\r\n\r\n",
]


@pytest.mark.parametrize("request_", GOOD)
def test_bytes_one_by_one_say_the_same_as_all_at_once(request_: bytes) -> None:
    whole = read(request_)
    single = read(*(request_[at : at + 1] for at in range(len(request_))))
    assert summary(single) == summary(whole)
    assert whole[-1] is Mark.END


@given(data=st.data())
def test_cuts_do_not_matter(data: st.DataObject) -> None:
    request = data.draw(st.sampled_from(GOOD))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(request)), max_size=6)))
    ends = [0, *cuts, len(request)]
    pieces = [request[low:high] for low, high in pairwise(ends)]
    assert summary(read(*pieces)) == summary(read(request))


def test_a_target_is_taken_apart() -> None:
    absolute, options, encoded = (read(GOOD[n])[0] for n in (2, 3, 10))
    assert isinstance(absolute, Head)
    assert isinstance(options, Head)
    assert isinstance(encoded, Head)
    assert (absolute.path, absolute.query) == ("/b", b"c=d")
    assert (b"host", b"other:80") in absolute.fields
    assert options.path == "*"
    assert (encoded.path, encoded.raw_path, encoded.query) == ("/ä", b"/%C3%A4", b"%00")


def test_bodies_and_the_requests_after_them_are_told_apart() -> None:
    head, body, end, following, last = summary(read(GOOD[8]))
    assert isinstance(head, Head)
    assert body == b"hello!"
    assert end is last is Mark.END
    assert isinstance(following, Head)
    assert following.method == "GET"


BAD = {
    # section 3: the request line
    b"GET  /a HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /a  HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b" GET /a HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /a\tHTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /a\r\nHost: h\r\n\r\n": 400,
    b"GET /a http/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /a HTTP/1.11\r\nHost: h\r\n\r\n": 400,
    b"GET /a HTTP/2.0\r\nHost: h\r\n\r\n": 505,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505,
    b"G\x00T /a HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"G(T /a HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET a HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET file:///etc HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"GET * HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"A" * 33 + b" /a HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"\r\n\r\n\r\n" + GET + b"\r\n": 400,
    b"GET /" + b"a" * 250 + b" HTTP/1.1\r\nHost: h\r\n\r\n": 414,
    # section 3.2: the host
    b"GET /a HTTP/1.1\r\n\r\n": 400,
    GET + b"Host: h\r\n\r\n": 400,
    GET + b"HOST: other\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: \r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: h:port\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n": 400,
    b"GET http://h/ HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n": 400,
    # section 5: the fields
    GET + b"X : a\r\n\r\n": 400,
    GET + b"X\r\n\r\n": 400,
    GET + b": a\r\n\r\n": 400,
    GET + b"X: a\r\n b\r\n\r\n": 400,
    GET + b"X: a\r\n\tb\r\n\r\n": 400,
    GET + b"X: a\nY: b\r\n\r\n": 400,
    GET + b"X: a\rY: b\r\n\r\n": 400,
    GET + b"X: a\x00b\r\n\r\n": 400,
    GET + b"X: a\x7f\r\n\r\n": 400,
    GET + b"X\x80: a\r\n\r\n": 400,
    GET + b"X: 1\r\n" * 9 + b"\r\n": 431,
    GET + b"X: " + b"a" * 700 + b"\r\n\r\n": 431,
    GET + b"X: " + b"a" * 700 + b"\x00\r\n\r\n": 431,
    GET + b"Expect: the-best\r\n\r\n": 417,
    # section 6: how long the body is
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello": 400,
    POST + b"Content-Length: 5, 5\r\n\r\nhello": 400,
    POST + b"Content-Length: +5\r\n\r\nhello": 400,
    POST + b"Content-Length: -5\r\n\r\nhello": 400,
    POST + b"Content-Length: 0x5\r\n\r\nhello": 400,
    POST + b"Content-Length: 5 5\r\n\r\nhello": 400,
    POST + b"Content-Length:\r\n\r\n": 400,
    POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n": 400,
    POST + b"Transfer-Encoding: identity\r\n\r\n": 400,
    POST + b"Transfer-Encoding: xchunked\r\n\r\n": 400,
    POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n": 400,
    POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n": 400,
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    POST + b"Transfer-Encoding:\r\n\r\n": 400,
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n": 501,
    b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    # section 7: chunks
    CHUNKED + b"\r\n": 400,
    CHUNKED + b"x\r\n": 400,
    CHUNKED + b"-1\r\n": 400,
    CHUNKED + b"0x5\r\nhello\r\n": 400,
    CHUNKED + b"5 5\r\nhello\r\n": 400,
    CHUNKED + b"5\nhello\r\n": 400,
    CHUNKED + b"5\r\nhelloworld\r\n": 400,
    CHUNKED + b"f" * 16 + b"\r\n": 400,
    CHUNKED + b"5;" + b"a" * 40 + b"\r\n": 400,
    CHUNKED + b"1;aaaaaaaaaa\r\nx\r\n" * 7: 400,
    CHUNKED + b"0001\r\nx\r\n" * 30: 400,
    CHUNKED + b"0\r\n" + b"T: aaaaaaaaaa\r\n" * 7: 400,
    CHUNKED + b"0\r\n folded\r\n\r\n": 400,
    CHUNKED + b"0\r\nno colon\r\n\r\n": 400,
}


@pytest.mark.parametrize("piecewise", [False, True])
@pytest.mark.parametrize(("request_", "status"), BAD.items())
def test_what_is_not_plainly_one_request_is_refused(
    request_: bytes, status: int, *, piecewise: bool
) -> None:
    pieces = [request_[at : at + 1] for at in range(len(request_))] if piecewise else [request_]
    with pytest.raises(BadRequest) as refused:
        read(*pieces)
    assert refused.value.status == status
    assert re.fullmatch("[a-z-]+", refused.value.reason)


@pytest.mark.parametrize(
    "endless",
    [
        b"A",
        b"GET /",
        b"GET / HTTP/1.1\r\n",
        GET,
        GET + b"X: ",
        b"\r\n",
        CHUNKED,
        CHUNKED + b"0\r\n",
    ],
)
@pytest.mark.parametrize("piece", [b"a", b"a: b\r\n", b"\r", b"0;", b" ", b"1\r\nx\r\n;"])
def test_nothing_endless_is_kept(endless: bytes, piece: bytes) -> None:
    reader = Reader(SMALL)
    reader.feed(endless)
    with pytest.raises(BadRequest):
        for _ in range(2000):
            reader.feed(piece)
            while reader.next() is not None:
                pass
            assert reader.waiting < SMALL.head_bytes + len(piece) + len(END)


@given(noise=st.binary(max_size=300), start=st.sampled_from([b"", GET, POST, CHUNKED]))
def test_noise_is_read_or_refused(noise: bytes, start: bytes) -> None:
    try:
        events = read(start + noise)
    except BadRequest as bad:
        assert bad.status in {400, 414, 417, 431, 501, 505}
    else:
        assert all(isinstance(event, Head | bytes | Mark) for event in events)


def test_spaces_cost_no_more_than_their_number() -> None:
    limits = Limits()
    head = GET + b"X:" + b" " * 30_000 + b"\n \r\n\r\n"
    with pytest.raises(BadRequest):
        read(head, limits=limits)


def padded(length: int, *, fields: int = 1) -> bytes:
    """A head of so many bytes, without its end."""
    lines = [GET.removesuffix(b"\r\n"), *[b"X: 1"] * (fields - 2)]
    begun = b"\r\n".join(lines)
    return begun + b"\r\nX: " + b"a" * (length - len(begun) - 5)


EDGES = [
    (b"A" * 32 + b" / HTTP/1.1\r\nHost: h" + END, b"A" * 33 + b" / HTTP/1.1\r\nHost: h" + END, 400),
    (
        b"GET /" + b"a" * 186 + b" HTTP/1.1\r\nHost: h" + END,
        b"GET /" + b"a" * 187 + b" HTTP/1.1\r\nHost: h" + END,
        414,
    ),
    (padded(600) + END, padded(601) + END, 431),
    (GET + b"X: 1\r\n" * 7 + b"\r\n", GET + b"X: 1\r\n" * 8 + b"\r\n", 431),
    (b"\r\n\r\n" + GET + b"\r\n", b"\r\n\r\n\r\n" + GET + b"\r\n", 400),
    (
        POST + b"Content-Length: " + b"0" * 17 + b"1" + END + b"x",
        POST + b"Content-Length: " + b"0" * 18 + b"1" + END + b"x",
        400,
    ),
    (
        CHUNKED + b"0" * 14 + b"1\r\nx\r\n0\r\n\r\n",
        CHUNKED + b"0" * 15 + b"1\r\nx\r\n0\r\n\r\n",
        400,
    ),
    (
        CHUNKED + b"1;" + b"a" * 30 + b"\r\nx\r\n0\r\n\r\n",
        CHUNKED + b"1;" + b"a" * 31 + b"\r\nx\r\n0\r\n\r\n",
        400,
    ),
    (  # 64 bytes beside what is the body's
        CHUNKED
        + b"1;"
        + b"a" * 15
        + b"\r\nx\r\n"
        + (b"1;" + b"a" * 15 + b"\r\nx\r\n") * 3
        + b"0"
        + END,
        CHUNKED + (b"1;" + b"a" * 15 + b"\r\nx\r\n") * 3 + b"1;" + b"a" * 16 + b"\r\nx\r\n0" + END,
        400,
    ),
    (
        CHUNKED + b"0\r\n" + b"T: " + b"a" * 27 + b"\r\n" + b"T: " + b"a" * 27 + END,
        CHUNKED + b"0\r\n" + b"T: " + b"a" * 27 + b"\r\n" + b"T: " + b"a" * 28 + END,
        400,
    ),
]


@pytest.mark.parametrize("piecewise", [False, True])
@pytest.mark.parametrize(("most", "more", "status"), EDGES)
def test_the_most_is_read_and_a_byte_more_is_not(
    most: bytes, more: bytes, status: int, *, piecewise: bool
) -> None:
    def pieces(request: bytes) -> list[bytes]:
        return [request[at : at + 1] for at in range(len(request))] if piecewise else [request]

    assert read(*pieces(most))[-1] is Mark.END
    with pytest.raises(BadRequest) as refused:
        read(*pieces(more))
    assert refused.value.status == status


def test_what_was_spent_on_one_request_is_not_counted_for_the_next() -> None:
    spent = b"1;" + b"a" * 15 + b"\r\nx\r\n"
    request = CHUNKED + spent * 3 + b"0" + END
    assert read(request * 3).count(Mark.END) == 3
    assert read((b"\r\n\r\n" + GET + b"\r\n") * 3).count(Mark.END) == 3


@pytest.mark.parametrize(
    ("request_", "persistent"),
    [
        (GET + b"\r\n", True),
        (GET + b"Connection: keep-alive" + END, True),
        (GET + b"Connection: closed" + END, True),
        (GET + b"Connection: Close" + END, False),
        (GET + b"Connection: keep-alive , close" + END, False),
        (GET + b"Connection: a\r\nConnection: close" + END, False),
        (b"GET / HTTP/1.0" + END, False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive" + END, False),
    ],
)
def test_a_connection_goes_on_unless_somebody_says_otherwise(
    request_: bytes, *, persistent: bool
) -> None:
    head = read(request_)[0]
    assert isinstance(head, Head)
    assert head.persistent is persistent


@pytest.mark.parametrize(
    ("request_", "waits"),
    [
        (POST + b"Content-Length: 1" + END, False),
        (POST + b"Expect: 100-Continue\r\nContent-Length: 1" + END, True),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1" + END, False),
    ],
)
def test_a_client_that_waits_for_a_word_is_known(request_: bytes, *, waits: bool) -> None:
    head = read(request_)[0]
    assert isinstance(head, Head)
    assert head.wants_continue is waits


def test_fields_are_in_their_order_with_names_in_lower_case() -> None:
    head = read(GET + b"B: 2\r\nA:\t1 \r\nb: 3" + END)[0]
    assert isinstance(head, Head)
    assert head.fields == [(b"host", b"h"), (b"b", b"2"), (b"a", b"1"), (b"b", b"3")]
    assert (head.method, head.version) == ("GET", "1.1")


def test_another_protocol_gets_all_that_follows_as_it_comes() -> None:
    reader = Reader(SMALL)
    reader.feed(GET + b"\r\n" + b"\x00\x01")
    assert isinstance(reader.next(), Head)
    assert reader.next() is Mark.END
    reader.switch()
    assert reader.next() == b"\x00\x01"
    assert reader.next() is None
    assert reader.waiting == 0
    reader.feed(memoryview(b"\r\n"))
    assert reader.next() == b"\r\n"


def test_a_body_is_given_as_it_comes_and_no_byte_of_what_follows() -> None:
    begun = POST + b"Content-Length: 5" + END
    assert read(begun, b"he", b"llo" + GET)[1:] == [b"he", b"llo", Mark.END]
    assert read(CHUNKED, b"5\r\nhe", b"llo\r", b"\n0\r\n\r\n")[1:] == [b"he", b"llo", Mark.END]
