"""TCP handshakes in a packet capture: from SYN to SYN-ACK, as the kernel saw them. Pure; captures nothing.

Reads the format of draft-ietf-opsawg-pcap (https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/), with
times in microseconds or nanoseconds, IPv4 only, over Ethernet (a capture on loopback) or bare (on a TUN
device).
"""

import bisect
import itertools
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_SUBSECONDS = {0xA1B2C3D4: 1e6, 0xA1B23C4D: 1e9}
_LINK_HEADERS = {1: 14, 12: 0, 101: 0}
"""LINKTYPE_ETHERNET and two numbers of LINKTYPE_RAW, with the length of what is before the IP header."""
_GLOBAL_HEADER_BYTES = 24
_SYN, _SYN_ACK = 0x02, 0x12
_IPV4, _TCP = 4, 6
_IP_HEADER_BYTES, _TCP_HEADER_BYTES = 20, 20


class CaptureError(ValueError):
    """The file is no capture that can be read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is of interest of one TCP segment; `at` in Unix time."""

    at: float
    source: tuple[str, int]
    destination: tuple[str, int]
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A handshake as it was captured: when the SYN went and the SYN-ACK came, in Unix time."""

    address: str
    syn_at: float
    seconds: float

    @property
    def done_at(self) -> float:
        """When the SYN-ACK came."""
        return self.syn_at + self.seconds


def segments(capture: bytes) -> Iterator[Segment]:
    """Read the TCP segments of a capture; one that ends within a packet has ended before it."""
    order, subseconds = _kind(capture)
    link = struct.unpack_from(f"{order}I", capture, 20)[0] & 0xFFFF
    if link not in _LINK_HEADERS:
        raise CaptureError(f"cannot read captures of link type {link}")
    header, position = struct.Struct(f"{order}IIII"), _GLOBAL_HEADER_BYTES
    while position + header.size <= len(capture):
        seconds, fraction, length, _ = header.unpack_from(capture, position)
        position += header.size
        packet = capture[position + _LINK_HEADERS[link] : position + length]
        position += length
        if position <= len(capture) and (found := _segment(packet, seconds + fraction / subseconds)):
            yield found


def _kind(capture: bytes) -> tuple[str, float]:
    """Tell the byte order of a capture, and how many of its fractions make a second."""
    if len(capture) >= _GLOBAL_HEADER_BYTES:
        for order in "<>":
            if subseconds := _SUBSECONDS.get(struct.unpack_from(f"{order}I", capture)[0]):
                return order, subseconds
    raise CaptureError("not a capture")


def _segment(packet: bytes, at: float) -> Segment | None:
    """Read IPv4 (RFC 791) and TCP (RFC 9293); anything else is None."""
    if len(packet) < _IP_HEADER_BYTES or packet[0] >> 4 != _IPV4 or packet[9] != _TCP:
        return None
    start = (packet[0] & 0x0F) * 4
    if len(packet) < start + _TCP_HEADER_BYTES:
        return None
    source_port, destination_port = struct.unpack_from(">HH", packet, start)
    return Segment(
        at=at,
        source=(socket.inet_ntoa(packet[12:16]), source_port),
        destination=(socket.inet_ntoa(packet[16:20]), destination_port),
        flags=packet[start + 13] & 0x17,  # FIN, SYN, RST and ACK
    )


def handshakes(found: Iterable[Segment]) -> list[Seen]:
    """Pair each SYN with its SYN-ACK; where one was sent more than once, it is unclear which was answered."""
    waiting = dict[tuple[tuple[str, int], tuple[str, int]], float | None]()
    paired = []
    for segment in found:
        if segment.flags == _SYN:
            connection = segment.source, segment.destination
            waiting[connection] = None if connection in waiting else segment.at
        elif segment.flags == _SYN_ACK:
            syn_at = waiting.pop((segment.destination, segment.source), None)
            if syn_at is not None:
                paired.append(Seen(address=segment.source[0], syn_at=syn_at, seconds=segment.at - syn_at))
    return paired


def most_at_once(seen: Iterable[Seen]) -> int:
    """Tell how many handshakes were under way at the same time, at most."""
    steps = sorted(step for each in seen for step in ((each.syn_at, 1), (each.done_at, -1)))
    return max(itertools.accumulate(step for _, step in steps), default=0)


def match(
    reported: Iterable[tuple[str, float, float]], seen: Iterable[Seen], *, within_seconds: float
) -> tuple[list[tuple[float, Seen]], int]:
    """Find the handshake that each report is of: the last one to that address before it.

    Args:
        reported: Address, Unix time and duration in seconds, of each report.
        seen: The handshakes of the capture.
        within_seconds: How long before the report it may have been.

    Returns:
        The reported durations, each with its handshake, and how many found none.
    """
    by_address = dict[str, list[Seen]]()
    for each in sorted(seen, key=lambda each: each.done_at):
        by_address.setdefault(each.address, []).append(each)
    times = {address: [each.done_at for each in all_of] for address, all_of in by_address.items()}
    pairs, unmatched = [], 0
    for address, at, seconds in reported:
        one = _last_before(at, by_address.get(address, []), times.get(address, []))
        if one is None or at - one.done_at > within_seconds:
            unmatched += 1
        else:
            pairs.append((seconds, one))
    return pairs, unmatched


def _last_before(at: float, all_of: Sequence[Seen], times: Sequence[float]) -> Seen | None:
    position = bisect.bisect_right(times, at)
    return all_of[position - 1] if position else None
