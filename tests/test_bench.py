"""Tests of what the benchmarks are made of: rows, percentiles, captures and the peer on the TUN device."""

import socket
import struct
from typing import Any

import pytest

from tests.bench_lab import RPC_ACCEPTANCE, demand_work, total, values
from tests.bench_pcap import CaptureError, Seen, Segment, handshakes, match, most_at_once, segments
from tests.bench_rows import CannotCompareError, Row, percentile, table
from tests.bench_tun import answer

CLIENT, SERVER = ("10.0.0.1", 40_000), ("10.0.0.2", 1688)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def row(**values: Any) -> Row:
    """Build a row."""
    some: dict[str, Any] = {"group": "pair", "what": "zone", "unit": "us", "ours": 50.0}
    return Row(**some | values)


@pytest.mark.parametrize(
    ("values", "ratio", "target", "met"),
    [
        ({}, None, "", None),
        ({"most": 50}, None, "<= 50.0", True),
        ({"most": 49}, None, "<= 49.0", False),
        ({"least": 50}, None, ">= 50.0", True),
        ({"least": 51}, None, ">= 51.0", False),
        ({"peer": 500.0, "most": 0.1}, 0.1, "<= 0.100", True),
        ({"peer": 499.0, "most": 0.1}, 50 / 499, "<= 0.100", False),
        ({"peer": 50.0, "least": 0.99}, 1.0, ">= 0.990", True),
        ({"peer": 0.0, "most": 11}, float("inf"), "<= 11.0", False),
        ({"ours": 0.0, "most": 0}, None, "<= 0", True),
    ],
)
def test_target_is_for_the_ratio_where_there_is_a_peer(
    values: dict[str, Any], ratio: float | None, target: str, *, met: bool | None
) -> None:
    """A target holds for the ratio to the peer, or without one for the number itself."""
    found = row(**values)
    assert (found.ratio, found.target, found.met) == (ratio, target, met)


def test_table_shows_each_group_once_and_says_what_is_met() -> None:
    """The table has a line for each row, under the name of its group."""
    rows = [
        row(peer=1000.0, most=0.1),
        row(what="memory", unit="MiB", ours=1234.5),
        row(group="start", what="version", unit="s", ours=0.31, most=0.3),
    ]
    assert table(rows).splitlines() == [
        "what     unit   ours   peer   ratio    target  met",
        "[pair]",
        "zone     us     50.0  1,000  0.0500  <= 0.100  yes",
        "memory   MiB   1,234",
        "[start]",
        "version  s     0.310                 <= 0.300   NO",
    ]


def test_json_has_no_number_that_json_lacks() -> None:
    """A ratio to nothing is null in the JSON, where infinity has no name."""
    assert (row(peer=0.0).as_json()["ratio"], row(peer=100.0).as_json()["ratio"]) == (None, 0.5)


@pytest.mark.parametrize(
    ("percent", "found"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.1, 100), (100, 100)]
)
def test_percentile_is_a_value_that_was_seen(percent: float, found: float) -> None:
    """A percentile is that of the nearest rank, whatever the order."""
    assert percentile(list(range(100, 0, -1)), percent) == found


def test_percentile_of_nothing_is_no_number() -> None:
    """Where nothing was measured, there is no percentile."""
    with pytest.raises(CannotCompareError):
        percentile([], 99)


@pytest.mark.parametrize(("done", "fair"), [(96, False), (97, True), (110, True), (113, True), (114, False)])
def test_unequal_work_is_not_compared(done: float, *, fair: bool) -> None:
    """A side that did less or more than is due gets no number."""
    if fair:
        demand_work("probes", done, [110, 100])
    else:
        with pytest.raises(CannotCompareError, match="probes"):
            demand_work("probes", done, [110, 100])


def test_values_are_read_whatever_the_labels() -> None:
    """The samples of one metric are read off a page, and none of another with a longer name."""
    page = b'# HELP up x\nup{a="}",b="1"} 1\nup 0.5\nup_total 7\nkms_up 3\n'
    assert (values(page, "up"), total(page, "up"), values(page, "down")) == ([1, 0.5], 1.5, [])


# --- Captures


def packet(
    source: tuple[str, int],
    destination: tuple[str, int],
    flags: int,
    *,
    number: int = 0,
    acknowledged: int = 0,
    data: bytes = b"",
    protocol: int = 6,
) -> bytes:
    """Build an IPv4 packet with a TCP segment, without checksums."""
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0, 64, protocol, 0) + addresses
    ports = source[1], destination[1]
    return ip + struct.pack(">HHIIBBHHH", *ports, number, acknowledged, 0x50, flags, 0, 0, 0) + data


def capture(
    *packets: tuple[int, int, bytes], order: str = "<", magic: int = 0xA1B23C4D, link: int = 101
) -> bytes:
    """Build a capture of packets, each with its seconds and fraction."""
    before = b"\0" * (14 if link == 1 else 0)
    records = (
        struct.pack(f"{order}IIII", *at, len(before + data), len(before + data)) + before + data
        for *at, data in packets
    )
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 96, link) + b"".join(records)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction"), [(0xA1B23C4D, 250_000_000), (0xA1B2C3D4, 250_000)])
@pytest.mark.parametrize("link", [1, 12, 101])
def test_capture_is_read(order: str, magic: int, fraction: int, link: int) -> None:
    """Captures of either byte order and resolution, of Ethernet or bare, give the same segments."""
    written = capture((7, fraction, packet(CLIENT, SERVER, SYN)), order=order, magic=magic, link=link)
    assert list(segments(written)) == [Segment(at=7.25, source=CLIENT, destination=SERVER, flags=SYN)]


@pytest.mark.parametrize(
    "other",
    [b"", b"\x60" + b"\0" * 39, packet(CLIENT, SERVER, SYN, protocol=17), packet(CLIENT, SERVER, SYN)[:39]],
)
def test_other_packets_are_passed_over(other: bytes) -> None:
    """What is not IPv4 or not TCP, or was cut off, is no segment."""
    written = capture((1, 0, other), (2, 0, packet(CLIENT, SERVER, SYN)))
    assert [segment.at for segment in segments(written)] == [2]


def test_capture_may_end_anywhere() -> None:
    """A capture that ends within a packet has the packets before it."""
    written = capture((1, 0, packet(CLIENT, SERVER, SYN)), (2, 0, packet(CLIENT, SERVER, SYN)))
    assert {len(list(segments(written[:length]))) for length in range(24, len(written) + 1)} == {0, 1, 2}


@pytest.mark.parametrize("not_one", [b"", b"\0" * 24, capture(link=113)])
def test_no_capture_is_told(not_one: bytes) -> None:
    """What is no capture, or one of a link that cannot be read, is not taken for an empty one."""
    with pytest.raises(CaptureError):
        list(segments(not_one))


def segment(at: float, flags: int, port: int = 40_000) -> Segment:
    """Build a SYN from the client or a SYN-ACK from the server."""
    client = (CLIENT[0], port)
    ends = (SERVER, client) if flags & ACK else (client, SERVER)
    return Segment(at=at, source=ends[0], destination=ends[1], flags=flags)


def test_handshakes_are_paired_by_connection() -> None:
    """A SYN-ACK belongs to the SYN from the port that it goes to; a port may be used again."""
    found = handshakes(
        [
            segment(1.0, SYN, 1),
            segment(1.5, SYN, 2),
            segment(2.0, SYN | ACK, 2),
            segment(4.0, SYN | ACK, 1),
            segment(5.0, SYN, 1),
            segment(6.0, SYN | ACK, 1),
            segment(6.5, SYN | ACK, 1),
        ]
    )
    assert [(each.syn_at, each.seconds) for each in found] == [(1.5, 0.5), (1.0, 3.0), (5.0, 1.0)]
    assert most_at_once(found) == 2


def test_handshake_with_a_syn_sent_again_is_left_out() -> None:
    """Nobody can tell which of two SYNs was answered."""
    assert handshakes([segment(1, SYN), segment(2, SYN), segment(2.1, SYN | ACK)]) == []


def test_report_is_matched_with_the_handshake_before_it() -> None:
    """A report is of the last handshake with its address that was over by then, if that was not long ago."""
    first, second = (Seen(address="10.0.0.2", syn_at=at, seconds=0.5) for at in (1.0, 3.0))
    reports = [("10.0.0.2", at, at) for at in (1.4, 1.6, 3.4, 3.5, 9.0)] + [("10.0.0.3", 1.6, 0)]
    pairs, unmatched = match(reports, [second, first], within_seconds=2)
    assert (pairs, unmatched) == ([(1.6, first), (3.4, first), (3.5, second)], 3)


# --- The peer behind the TUN device


@pytest.mark.parametrize(
    ("sent", "flags", "number", "acknowledged", "data"),
    [
        (packet(CLIENT, SERVER, SYN, number=2**32 - 1), SYN | ACK, 0, 0, b""),
        (
            packet(CLIENT, SERVER, ACK | PSH, number=8, acknowledged=1, data=b"bind"),
            ACK | PSH,
            1,
            12,
            RPC_ACCEPTANCE,
        ),
        (packet(CLIENT, SERVER, ACK | FIN, number=8, acknowledged=61), ACK | RST, 61, 9, b""),
    ],
)
def test_peer_answers_from_the_segment_alone(
    sent: bytes, flags: int, number: int, acknowledged: int, data: bytes
) -> None:
    """A SYN, data and a FIN each get an answer with the right numbers and checksums."""
    found = answer(sent)
    assert found is not None
    header = struct.unpack_from(">HHIIBB", found, 20)
    assert header == (SERVER[1], CLIENT[1], number, acknowledged, 0x50, flags)
    assert (found[12:16], found[16:20]) == (sent[16:20], sent[12:16])
    assert found[40:] == data
    assert (
        added(found[:20])
        == added(found[12:20] + struct.pack(">HH", 6, len(found) - 20) + found[20:])
        == 0xFFFF
    )


def added(data: bytes) -> int:
    """Add up as RFC 1071 says, which gives this where the checksum is right."""
    return sum(high << 8 | low for high, low in zip(data[::2], data[1::2], strict=True)) % 0xFFFF or 0xFFFF


@pytest.mark.parametrize(
    "sent", [packet(CLIENT, SERVER, ACK), packet(CLIENT, SERVER, RST), b"\x60" + b"\0" * 39]
)
def test_peer_leaves_the_rest_unanswered(sent: bytes) -> None:
    """What needs no answer, or is none of its business, gets none."""
    assert answer(sent) is None
