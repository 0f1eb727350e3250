"""What anybody may take of a listener before, and after, it is known who asks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bytes, numbers and seconds of one HTTP listener.

    Attributes:
        connections: in all. Beyond it the longest idle one of the most crowded address is closed.
        connections_per_address: the same for one IPv4 address, or one IPv6 network of 64 bits.
        line_bytes: of a request line.
        head_bytes: of a request line and its fields.
        fields: of a head.
        chunk_line_bytes: of a chunk's size and extensions.
        extra_bytes: of all chunk extensions of a request together, and of its trailers.
        body_buffer: bytes of a body that wait for the application; then reading stops.
        head_seconds: from the first byte, or from the connection, to the end of the head.
        idle_seconds: without a byte after an answer.
        body_seconds: that a body may take in any case, and
        body_rate: bytes a second that it must come with beyond them.
        stall_seconds: in which the client must take `stall_bytes` of what waits for it.
        linger_seconds: of reading what a refused client still sends, so that it sees the answer;
        linger_rate: bytes a second that it must come with beyond them, for
        linger_most_seconds: in all; of more than
        linger_bytes: nothing is read, but the answer is left to the client for as long.
    """

    connections: int = 512
    connections_per_address: int = 128
    line_bytes: int = 16 * 1024
    head_bytes: int = 64 * 1024
    fields: int = 100
    chunk_line_bytes: int = 256
    extra_bytes: int = 4 * 1024
    body_buffer: int = 64 * 1024
    head_seconds: float = 10.0
    idle_seconds: float = 65.0
    body_seconds: float = 10.0
    body_rate: int = 1024
    stall_seconds: float = 30.0
    stall_bytes: int = 16 * 1024
    linger_seconds: float = 2.0
    linger_rate: int = 256 * 1024
    linger_most_seconds: float = 30.0
    linger_bytes: int = 64 * 1024 * 1024


OF_HEALTH = Limits(
    connections=128,
    connections_per_address=32,
    line_bytes=1024,
    head_bytes=8 * 1024,
    fields=50,
    linger_bytes=1024 * 1024,
)
"""Of the port that only tells how a service is."""
