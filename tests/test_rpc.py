"""Tests of the bytes of an RPC bind: what is sent, and that any answer to it gets the meaning it has."""

import socket
import struct
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from impacket.dcerpc.v5.rpcrt import (  # type: ignore[import-untyped]
    MSRPC_BIND,
    CtxItem,
    DCERPCServer,
    MSRPCBind,
    MSRPCBindAck,
    MSRPCHeader,
)
from impacket.uuid import bin_to_uuidtup, uuidtup_to_bin  # type: ignore[import-untyped]

from exporter import rpc
from exporter.model import ProbeFailure
from exporter.rpc import MAX_FRAGMENT_BYTES, NDR, PduType, bytes_missing, judge, parse

NDR64 = uuid.UUID("71710533-beba-4937-8319-b5dbef9ccc36")
OTHER_INTERFACE = "12345678-1234-abcd-ef00-0123456789ab"
BYTE_ORDERS = ["<", ">"]
TIMEOUT_SECONDS = 30

OUTCOMES = {
    None,
    ProbeFailure.NOT_RPC,
    ProbeFailure.INTERFACE_UNKNOWN,
    ProbeFailure.RPC_BUSY,
    ProbeFailure.RPC_REJECTED,
}

BIND_BY_OFFSET = """
    00  05 00 0b 03
    04  10 00 00 00
    08  48 00 00 00
    12  01 00 00 00
    16  d0 16 d0 16
    20  00 00 00 00
    24  01 00 00 00
    28  00 00 01 00
    32  75 21 c8 51 4e 84 50 47 b0 d8 ec 25 55 55 bc 06
    48  01 00 00 00
    52  04 5d 88 8a eb 1c c9 11 9f e8 08 00 2b 10 48 60
    68  02 00 00 00
"""

BIG_ENDIAN_ACK_BY_OFFSET = """
    00  05 00 0c 03
    04  00 00 00 00
    08  00 3c 00 00
    12  00 00 00 01
    16  10 b8 16 d0
    20  00 01 e2 40
    24  00 05 31 36 38 38 00 00
    32  01 00 00 00
    36  00 00 00 00
    40  8a 88 5d 04 1c eb 11 c9 9f e8 08 00 2b 10 48 60
    56  00 00 00 02
"""


def unhex(dump: str) -> bytes:
    """Read a dump whose lines are a decimal offset and bytes, and hold the offsets to be true."""
    data = b""
    for line in dump.split("\n")[1:-1]:
        offset, _, row = line.strip().partition(" ")
        assert int(offset) == len(data)
        data += bytes.fromhex(row)
    return data


def pdu(
    kind: int,
    body: bytes,
    *,
    order: str = "<",
    version: tuple[int, int] = (5, 0),
    flags: int = 0x03,
    representation: bytes | None = None,
    frag_len: int | None = None,
    auth_len: int = 0,
    call_id: int = 1,
) -> bytes:
    """Put a header before a body; what it says may be wrong in any field."""
    return b"".join(
        (
            struct.pack("BBBB", *version, kind, flags),
            representation or (b"\x10\0\0\0" if order == "<" else b"\0\0\0\0"),
            struct.pack(order + "HHI", 16 + len(body) if frag_len is None else frag_len, auth_len, call_id),
            body,
        )
    )


def bind_ack(
    result: int = 0,
    reason: int = 0,
    *,
    order: str = "<",
    syntax: tuple[uuid.UUID, int] = (NDR, 2),
    address: bytes = b"1688\0",
    address_bytes: int | None = None,
    count: int = 1,
    filler: bytes = b"\0",
    rest: bytes = b"",
) -> bytes:
    """Make a bind_ack whose one result may be announced as more; `filler` is padding and reserved bytes."""
    size = len(address) if address_bytes is None else address_bytes
    name, version = syntax
    body = b"".join(
        (
            struct.pack(order + "HHIH", 4280, MAX_FRAGMENT_BYTES, 123456, size),
            address + filler * (-(26 + len(address)) % 4),
            bytes([count]) + filler * 3,
            struct.pack(order + "HH", result, reason),
            name.bytes_le if order == "<" else name.bytes,
            struct.pack(order + "I", version),
        )
    )
    return pdu(PduType.BIND_ACK, body + rest, order=order)


def bind_nak(reason: int, rest: bytes = b"\x01\x05\x00", *, order: str = "<") -> bytes:
    """Make a bind_nak; `rest` is the list of versions and whatever comes after."""
    return pdu(PduType.BIND_NAK, struct.pack(order + "H", reason) + rest, order=order)


def fault(status: int, rest: bytes = b"", *, order: str = "<") -> bytes:
    """Make a fault without stub data."""
    return pdu(PduType.FAULT, struct.pack(order + "IHBBI4x", 32, 0, 0, 0, status) + rest, order=order)


VALID = [
    *(bind_ack(order=order) for order in BYTE_ORDERS),
    *(bind_ack(2, 1, order=order, address=b"") for order in BYTE_ORDERS),
    *(bind_nak(4, order=order) for order in BYTE_ORDERS),
    *(fault(0x1C010003, order=order) for order in BYTE_ORDERS),
]

U16 = st.integers(0, 0xFFFF)
ORDERS = st.sampled_from(BYTE_ORDERS)
ANSWERS = st.one_of(
    st.builds(
        bind_ack,
        st.integers(0, 4) | U16,
        st.integers(0, 4) | U16,
        order=ORDERS,
        syntax=st.tuples(st.sampled_from([NDR, NDR64]) | st.uuids(), st.integers(0, 3)),
        address=st.binary(max_size=300),
        filler=st.binary(min_size=1, max_size=1),
    ),
    st.builds(bind_nak, st.integers(0, 9) | U16, order=ORDERS),
    st.builds(fault, st.just(rpc.SERVER_TOO_BUSY) | st.integers(0, 0xFFFFFFFF), order=ORDERS),
)
FRAMED = st.builds(
    pdu, st.sampled_from([PduType.FAULT, PduType.BIND_ACK, PduType.BIND_NAK]), st.binary(), order=ORDERS
)
"""Bodies of any bytes under a header that is right, as plain random bytes hardly ever are."""

# --- What is sent


def test_bind() -> None:
    """The bind is these 72 bytes."""
    assert unhex(BIND_BY_OFFSET) == rpc.BIND
    assert len(rpc.BIND) == 72


def test_no_request() -> None:
    """There is no PDU here that could carry a call."""
    assert {kind.name: kind.value for kind in PduType} == {
        "FAULT": 3,
        "BIND": 11,
        "BIND_ACK": 12,
        "BIND_NAK": 13,
    }


# --- What an answer means


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize(
    ("result", "reason", "outcome"),
    [
        (0, 0, None),
        (0, 3, None),  # without a rejection there is no reason to look at
        (1, 0, "rpc_rejected"),
        (1, 1, "interface_unknown"),
        (1, 2, "rpc_rejected"),
        (1, 3, "rpc_rejected"),
        (2, 0, "rpc_rejected"),
        (2, 1, "interface_unknown"),
        (2, 2, "rpc_rejected"),
        (2, 3, "rpc_busy"),
        (2, 4, "rpc_rejected"),
        (2, 0xFFFF, "rpc_rejected"),
        (3, 0, "not_rpc"),
        (3, 1, "not_rpc"),
        (4, 0, "not_rpc"),
        (0x0100, 0, "not_rpc"),
        (0xFFFF, 1, "not_rpc"),
    ],
)
def test_bind_ack(result: int, reason: int, outcome: str | None, order: str) -> None:
    """A bind_ack means what its one result says."""
    assert judge(bind_ack(result, reason, order=order)) == outcome


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize(
    "syntax", [(NDR64, 1), (NDR, 1), (NDR, 3), (NDR, 0x00010002), (NDR, 0x02000000), (uuid.UUID(int=0), 0)]
)
def test_acceptance_of_what_was_not_offered(syntax: tuple[uuid.UUID, int], order: str) -> None:
    """A server that accepts another transfer syntax than the one offered does not speak our protocol."""
    assert judge(bind_ack(order=order, syntax=syntax)) is ProbeFailure.NOT_RPC


@pytest.mark.parametrize("order", BYTE_ORDERS)
def test_rejection_needs_no_transfer_syntax(order: str) -> None:
    """The transfer syntax beside a rejection is not looked at: Windows sends zeros."""
    answer = bind_ack(2, 1, order=order, syntax=(uuid.UUID(int=0), 0))
    assert judge(answer) is ProbeFailure.INTERFACE_UNKNOWN


def test_byte_order_reaches_into_the_uuid() -> None:
    """A transfer syntax in the byte order that the header does not announce is another one."""
    swapped = uuid.UUID(bytes=NDR.bytes_le)
    assert judge(bind_ack(order="<", syntax=(swapped, 2))) is ProbeFailure.NOT_RPC
    assert judge(bind_ack(order=">", syntax=(swapped, 2))) is ProbeFailure.NOT_RPC


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize("size", [*range(9), 1000, MAX_FRAGMENT_BYTES - 56])
def test_secondary_address(size: int, order: str) -> None:
    """Whatever the length of the secondary address, the result is found behind it."""
    answer = bind_ack(2, 3, order=order, address=b"x" * size, filler=b"\xee")
    parsed = parse(answer)
    assert isinstance(parsed, rpc.BindAck)
    assert parsed.secondary_address == b"x" * size
    assert judge(answer) is ProbeFailure.RPC_BUSY


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (0, "rpc_rejected"),
        (1, "rpc_busy"),
        (2, "rpc_busy"),
        (3, "rpc_rejected"),
        (4, "rpc_rejected"),
        (8, "rpc_rejected"),
        (9, "rpc_rejected"),
        (0x0100, "rpc_rejected"),
        (0xFFFF, "rpc_rejected"),
    ],
)
def test_bind_nak(reason: int, outcome: str, order: str) -> None:
    """A bind_nak is a refusal, and one of a busy server says so."""
    answer = bind_nak(reason, order=order)
    assert parse(answer) == rpc.BindNak(reason=reason)
    assert judge(answer) == outcome


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\x00",
        b"\x01\x05\x00",
        b"\x02\x05\x00\x05\x01",
        b"\x01\x05\x00\x00\x00\x00",
        b"\x01\x05\x00" + uuid.UUID("90740320-fad0-11d3-82d7-009027b130ab").bytes_le,
        b"\x00" + bytes(range(200)),
    ],
    ids=bytes.hex,
)
def test_bind_nak_with_versions(rest: bytes) -> None:
    """A bind_nak may or may not list versions, and what follows the list is not looked at."""
    assert judge(bind_nak(2, rest)) is ProbeFailure.RPC_BUSY


@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x1C010014, "rpc_busy"),
        (0x1400011C, "rpc_rejected"),  # the same in the wrong byte order
        (0x1C010003, "rpc_rejected"),
        (0x1C01000B, "rpc_rejected"),
        (0x00000005, "rpc_rejected"),
        (0x00000000, "rpc_rejected"),
    ],
)
def test_fault(status: int, outcome: str, order: str) -> None:
    """A fault is a refusal, and one of a busy server says so."""
    answer = fault(status, b"stub data", order=order)
    assert parse(answer) == rpc.Fault(status=status)
    assert judge(answer) == outcome


def test_parse_big_endian() -> None:
    """Every field of a big-endian answer is read in its byte order."""
    assert parse(unhex(BIG_ENDIAN_ACK_BY_OFFSET)) == rpc.BindAck(
        max_xmit_bytes=4280,
        max_recv_bytes=5840,
        assoc_group=123456,
        secondary_address=b"1688\0",
        results=(rpc.ContextResult(result=0, reason=0, transfer_syntax=(NDR, 2)),),
    )


def test_parse_is_the_same_in_both_byte_orders() -> None:
    """The byte order of an answer tells nothing but how to read it."""
    assert parse(bind_ack(2, 1, order=">")) == parse(bind_ack(2, 1, order="<"))
    assert bind_ack(order=">") == unhex(BIG_ENDIAN_ACK_BY_OFFSET)


# --- What is no answer

WRONG_HEADERS = [
    ("version 4", 0, bind_ack()[16:], {"version": (4, 0)}),
    ("version 5.1", 1, bind_ack()[16:], {"version": (5, 1)}),
    ("our own bind", 2, rpc.BIND[16:], {"kind": 11}),
    ("a request", 2, bytes(8), {"kind": 0}),
    ("a response", 2, bytes(8), {"kind": 2}),
    ("an alter_context_resp", 2, bind_ack()[16:], {"kind": 15}),
    ("not the first fragment", 3, bind_ack()[16:], {"flags": 0x02}),
    ("not the last fragment", 3, bind_ack()[16:], {"flags": 0x01}),
    ("byte order 2", 4, bind_ack()[16:], {"representation": b"\x20\0\0\0"}),
    ("character set 2", 4, bind_ack()[16:], {"representation": b"\x12\0\0\0"}),
    ("floating point 4", 5, bind_ack()[16:], {"representation": b"\x10\x04\0\0"}),
    ("representation byte 2", 6, bind_ack()[16:], {"representation": b"\x10\0\x01\0"}),
    ("representation byte 3", 7, bind_ack()[16:], {"representation": b"\x10\0\0\x01"}),
    ("frag_len 0", 9, bind_ack()[16:], {"frag_len": 0}),
    ("frag_len 0, big-endian", 9, bind_ack(order=">")[16:], {"frag_len": 0, "order": ">"}),
    ("frag_len 16", 9, bind_nak(1)[16:], {"frag_len": 16, "kind": 13}),
    ("frag_len 65535", 9, bind_ack()[16:], {"frag_len": 65535}),
    ("frag_len 65535, big-endian", 8, bind_ack(order=">")[16:], {"frag_len": 65535, "order": ">"}),
    ("frag_len over the maximum", 9, bytes(5825), {"frag_len": 5841, "kind": 3}),
    ("frag_len over the maximum, big-endian", 9, bytes(5825), {"frag_len": 5841, "kind": 3, "order": ">"}),
    ("bind_ack under its minimum", 9, bind_ack(address=b"")[16:55], {}),
    ("bind_nak under its minimum", 9, b"\x01", {"kind": 13}),
    ("fault under its minimum", 9, fault(0)[16:31], {"kind": 3}),
    ("auth_len 8", 10, bind_ack()[16:], {"auth_len": 8}),
    ("auth_len 256", 11, bind_ack()[16:], {"auth_len": 256}),
    ("call_id 0", 12, bind_ack()[16:], {"call_id": 0}),
    ("call_id 2", 12, bind_ack()[16:], {"call_id": 2}),
    ("call_id 1 + 2^24", 15, bind_ack()[16:], {"call_id": 0x01000001}),
    ("call_id 2^24, big-endian", 12, bind_ack(order=">")[16:], {"call_id": 0x01000000, "order": ">"}),
]
"""By the offset of the first wrong byte: body, and what is wrong in the header of a bind_ack."""


def wrong_header(body: bytes, wrong: dict[str, object]) -> bytes:
    """Put a wrong header before a body."""
    return pdu(**({"kind": PduType.BIND_ACK, "body": body} | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offset", "body", "wrong"), [row[1:] for row in WRONG_HEADERS], ids=[row[0] for row in WRONG_HEADERS]
)
def test_wrong_header(offset: int, body: bytes, wrong: dict[str, object]) -> None:
    """A header that no answer has is no RPC, and nothing is waited for from its first wrong byte on."""
    answer = wrong_header(body, wrong)
    assert judge(answer) is ProbeFailure.NOT_RPC
    with pytest.raises(rpc.MalformedAnswerError):
        parse(answer)
    assert [bytes_missing(answer[:end]) for end in range(17)] == [
        16 - end if end <= offset else 0 for end in range(17)
    ]


@pytest.mark.parametrize(
    "answer",
    [
        bind_ack(count=0),
        bind_ack(count=2),
        bind_ack(count=255),
        bind_ack(rest=bytes(24), count=2),
        bind_ack(rest=b"\0"),
        bind_ack(rest=bytes(4)),
        bind_ack(address=b"", address_bytes=3),
        bind_ack(address=b"", address_bytes=4),
        bind_ack(address_bytes=0),
        bind_ack(address_bytes=36, order=">"),
        bind_ack(address_bytes=0xFFFF),
        bind_nak(1, b"\x01"),
        bind_nak(1, b"\x01\x05"),
        bind_nak(1, b"\x02\x05\x00\x05"),
        bind_nak(1, b"\xff" + bytes(509)),
    ],
    ids=[
        "no result",
        "two results announced",
        "255 results announced",
        "two results",
        "a byte after the result",
        "four bytes after the result",
        "result not there, by padding",
        "result not there",
        "no secondary address announced",
        "secondary address over the result",
        "secondary address beyond the fragment",
        "version list without versions",
        "version list with half a version",
        "version list with one and a half of two",
        "version list with one byte less than 255",
    ],
)
def test_wrong_body(answer: bytes) -> None:
    """A body that does not keep to the layout of its type is no RPC, though it is read to its end."""
    assert bytes_missing(answer) == 0
    assert bytes_missing(answer[:-1]) == 1
    assert judge(answer) is ProbeFailure.NOT_RPC
    with pytest.raises(rpc.MalformedAnswerError):
        parse(answer)


@pytest.mark.parametrize(
    "answer", [bind_ack(address=b""), bind_nak(1, b""), fault(0), bind_ack(address=bytes(5784))], ids=len
)
def test_limits_of_the_length(answer: bytes) -> None:
    """An answer may be as short as its type allows, and as long as the bind says."""
    assert judge(answer) is not ProbeFailure.NOT_RPC


@pytest.mark.parametrize(
    ("order", "representation", "lengths_and_call"),
    [("<", {0x10, 0x11}, [60, 0, 0, 0, 1, 0, 0, 0]), (">", {0x00, 0x01}, [0, 60, 0, 0, 0, 0, 0, 1])],
)
def test_every_value_of_every_header_byte(
    order: str, representation: set[int], lengths_and_call: list[int]
) -> None:
    """A header byte has only the values that its field allows, whatever comes with it."""
    answer = bind_ack(2, 1, order=order)
    tolerated = [
        {value for value in range(256) if judge(replaced(answer, offset, value)) is not ProbeFailure.NOT_RPC}
        for offset in range(16)
    ]
    assert tolerated == [
        {5},
        {0},
        {3, 12},  # its bytes are those of a fault too
        {flags for flags in range(256) if flags & 0x03 == 0x03},
        representation,
        {0, 1, 2, 3},
        {0},
        {0},
        *({value} for value in lengths_and_call),
    ]


def replaced(data: bytes, offset: int, value: int) -> bytes:
    """Put one byte in the place of another."""
    return data[:offset] + bytes([value]) + data[offset + 1 :]


# --- How much to read


@pytest.mark.parametrize(
    ("received", "missing"),
    [
        (b"", 16),
        (b"\x05", 15),
        (b"\x05\x00", 14),
        (b"\x05\x00\x0c\x03\x10", 11),
        (bind_ack()[:15], 1),
        (bind_ack()[:16], 44),
        (bind_ack()[:59], 1),
        (bind_ack(), 0),
        (bind_ack() + b"more", 0),
        (bind_ack(order=">")[:16], 44),
        (bind_nak(1, b"")[:16], 2),
        (pdu(3, b"", frag_len=5840), 5824),
        (pdu(3, b"", frag_len=5840, order=">"), 5824),
        (pdu(3, b"", frag_len=5841), 0),
        (pdu(3, b"", frag_len=5841, order=">"), 0),
        (pdu(3, b"", frag_len=65535), 0),
        (pdu(3, b"", frag_len=0), 0),
        (b"SSH-2.0", 0),
        (b"S", 0),
        (b"220 x\r\n", 0),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 0),
        (b"\x15\x03\x01\x00\x02\x02\x46", 0),  # a TLS alert
        (b"\x05\xff", 0),  # SOCKS 5
        (b"\x00", 0),
    ],
)
def test_bytes_missing(received: bytes, missing: int) -> None:
    """The header is to be read, then its fragment, and nothing of what is no answer to a bind."""
    assert bytes_missing(received) == missing


@pytest.mark.parametrize("answer", VALID, ids=bytes.hex)
def test_byte_after_byte(answer: bytes) -> None:
    """An answer that trickles in is asked for to its last byte, not beyond, and is none until then."""
    for end in range(len(answer)):
        missing = bytes_missing(answer[:end])
        assert missing == (16 - end if end < 16 else len(answer) - end)
        assert judge(answer[:end]) is ProbeFailure.NOT_RPC
    assert bytes_missing(answer) == 0


def receive(stream: bytes, sizes: Iterable[int]) -> bytes:
    """Read a stream as a probe does, in segments of at most these sizes, then in one."""
    received = b""
    segments = iter(sizes)
    while missing := bytes_missing(received):
        at_most = min(missing, next(segments, missing))
        segment = stream[len(received) : len(received) + at_most]
        if not segment:
            break
        received += segment
    return received


# --- Whatever the bytes


@settings(deadline=None)
@given(st.binary() | FRAMED | ANSWERS)
def test_any_bytes(received: bytes) -> None:
    """Any bytes have a meaning, and never is more asked for than what the bind allows."""
    assert judge(received) in OUTCOMES
    missing = bytes_missing(received)
    assert missing >= 0
    assert missing == 0 or len(received) + missing <= MAX_FRAGMENT_BYTES


@settings(deadline=None)
@given(st.binary() | FRAMED)
def test_parse_raises_one_error(received: bytes) -> None:
    """What cannot be read is refused with one kind of error, and that is what `not_rpc` says."""
    try:
        parse(received)
    except rpc.MalformedAnswerError:
        assert judge(received) is ProbeFailure.NOT_RPC


@settings(deadline=None)
@given(ANSWERS, st.data())
def test_truncated(answer: bytes, data: st.DataObject) -> None:
    """An answer that breaks off is known to be incomplete, and is none."""
    truncated = answer[: data.draw(st.integers(0, len(answer) - 1))]
    assert 0 < bytes_missing(truncated) <= len(answer) - len(truncated)
    assert judge(truncated) is ProbeFailure.NOT_RPC


@settings(deadline=None)
@given(ANSWERS, st.data())
def test_mutated(answer: bytes, data: st.DataObject) -> None:
    """An answer with a wrong byte has a meaning too, and asks for no more than what the bind allows."""
    offset = data.draw(st.integers(0, len(answer) - 1))
    mutated = replaced(answer, offset, data.draw(st.integers(0, 255)))
    assert judge(mutated) in OUTCOMES
    assert len(mutated) + bytes_missing(mutated) <= MAX_FRAGMENT_BYTES


@settings(deadline=None)
@given(ANSWERS | FRAMED, st.binary(min_size=1))
def test_bytes_after_the_fragment(answer: bytes, more: bytes) -> None:
    """What follows the fragment changes nothing."""
    assert bytes_missing(answer + more) == bytes_missing(answer) == 0
    assert judge(answer + more) is judge(answer)


@settings(deadline=None)
@given(st.binary() | ANSWERS | FRAMED, st.binary(), st.lists(st.integers(1, 20)))
def test_fragmentation(answer: bytes, more: bytes, sizes: list[int]) -> None:
    """However the network cuts an answer into pieces, it means the same."""
    received = receive(answer + more, sizes)
    assert judge(received) is judge(answer + more)
    assert len(received) <= MAX_FRAGMENT_BYTES


# --- What others make of it


def ask(interface: str) -> bytes:
    """Send the bind to a server of impacket's that has one interface, and read its answer as a probe does.

    The kernel holds either side's bytes, so the server needs no thread: it serves one PDU, then hangs up.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), TIMEOUT_SECONDS) as client,
    ):
        client.sendall(rpc.BIND)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT_SECONDS)
            server = DCERPCServer(client_socket=connection)
            server.addCallbacks((interface, "1.0"), "1688", {})
            server.processRequest(server.recv())
        received = b""
        while missing := bytes_missing(received):
            segment = client.recv(missing)
            assert segment, "the server hung up before its answer was complete"
            received += segment
        assert client.recv(1) == b""
    return received


def test_impacket_reads_our_bind() -> None:
    """A parser that is not ours finds in the bind what is meant by it."""
    header = MSRPCHeader(rpc.BIND)
    assert (header["ver_major"], header["ver_minor"], header["type"]) == (5, 0, MSRPC_BIND)
    assert (header["flags"], header["representation"], header["call_id"]) == (0x03, 0x10, rpc.CALL_ID)
    assert (header["frag_len"], header["auth_len"]) == (72, 0)
    bind = MSRPCBind(header["pduData"])
    assert (bind["max_tfrag"], bind["max_rfrag"], bind["assoc_group"]) == (5840, 5840, 0)
    assert (bind["ctx_num"], len(bind["ctx_items"])) == (1, 44)
    context = CtxItem(bind["ctx_items"])
    assert (context["ContextID"], context["TransItems"]) == (0, 1)
    assert context["AbstractSyntax"] == uuidtup_to_bin((str(rpc.KMS_INTERFACE), "1.0"))
    assert context["TransferSyntax"] == uuidtup_to_bin((str(NDR), "2.0"))


def test_impacket_accepts_our_bind() -> None:
    """A server that has the interface accepts the bind."""
    answer = ask(str(rpc.KMS_INTERFACE))
    assert judge(answer) is None
    assert parse(answer) == rpc.BindAck(
        max_xmit_bytes=MAX_FRAGMENT_BYTES,
        max_recv_bytes=MAX_FRAGMENT_BYTES,
        assoc_group=0x1234,
        secondary_address=b"1688\0",
        results=(rpc.ContextResult(result=0, reason=0, transfer_syntax=(NDR, 2)),),
    )


def test_impacket_without_the_interface() -> None:
    """A server that has only another interface says so, though as a rejection by the user."""
    answer = ask(OTHER_INTERFACE)
    parsed = parse(answer)
    assert isinstance(parsed, rpc.BindAck)
    assert [(result.result, result.reason) for result in parsed.results] == [(1, 1)]
    assert judge(answer) is ProbeFailure.INTERFACE_UNKNOWN


@pytest.mark.parametrize("address", [b"1688\0", b"\\PIPE\\x\0", b"abcdef\0", b"abc\0", b""], ids=repr)
def test_impacket_reads_the_same_answer(address: bytes) -> None:
    """A parser that is not ours reads the same in a bind_ack, whatever its padding."""
    answer = bind_ack(2, 1, address=address, syntax=(NDR64, 1), filler=b"\xee")
    theirs, ours = MSRPCBindAck(answer), parse(answer)
    assert isinstance(ours, rpc.BindAck)
    assert (theirs["max_tfrag"], theirs["max_rfrag"]) == (ours.max_xmit_bytes, ours.max_recv_bytes)
    assert theirs["assoc_group"] == ours.assoc_group
    assert (theirs["SecondaryAddr"] or "").encode() == ours.secondary_address.rstrip(b"\0")
    (item,), (result,) = theirs.getCtxItems(), ours.results
    assert (item["Result"], item["Reason"]) == (result.result, result.reason) == (2, 1)
    name, version = bin_to_uuidtup(item["TransferSyntax"])
    assert (uuid.UUID(name), version) == (result.transfer_syntax[0], "1.0")
    assert result.transfer_syntax == (NDR64, 1)
