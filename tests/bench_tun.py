"""A TUN device whose far side is a process here: it answers SYNs after a known delay, or never reads them.

The device is made in the namespace of the benchmark
(https://www.kernel.org/doc/html/latest/networking/tuntap.html). The peer keeps no state: what it answers
follows from the segment alone (RFC 9293), for each connection is one bind at most.
"""

import contextlib
import fcntl
import heapq
import os
import select
import struct
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from tests.bench_lab import FORK, RPC_ACCEPTANCE, start_child

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKETS_QUEUED = 10_000
_FIN, _SYN, _RST, _PSH, _ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_TCP = 6
_LARGEST_PACKET_BYTES = 65_536
_IP_HEADER, _TCP_HEADER = struct.Struct(">BBHHHBBH4s4s"), struct.Struct(">HHIIBBHHH")
_WINDOW_BYTES, _TTL = 64_000, 64


class Tun:
    """A TUN device that leads to a network; what is sent there is lost as long as nobody reads it."""

    def __init__(self, name: str, address: str, *, packets_queued: int = _PACKETS_QUEUED) -> None:
        self.name = name
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.descriptor, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        for command in (
            ("address", "add", address, "dev", name),
            ("link", "set", name, "txqueuelen", str(packets_queued), "up"),
        ):
            subprocess.run(["ip", *command], check=True)

    def close(self) -> None:
        """Remove the device."""
        os.close(self.descriptor)


class DelayingPeer:
    """A process that is every host behind a device, and answers SYNs late.

    The second byte of an address says how late: counted from `base`, it is the number of one of `delays`, in
    seconds. Binds are accepted at once, and every connection is reset when it is hung up.
    """

    def __init__(self, tun: Tun, *, base: int, delays: Sequence[float]) -> None:
        self._results, written = FORK.Pipe(duplex=False)
        self._stop, stop = os.pipe()
        self._child = start_child(_serve, tun.descriptor, self._stop, base, delays, written)
        written.close()
        os.close(self._stop)
        self._stop = stop

    def stop(self) -> list[list[float]]:
        """End it, and get how long it held each SYN by its own clock, in seconds, for each of the delays."""
        os.write(self._stop, b"\0")
        held: list[list[float]] = self._results.recv()
        return held

    def close(self) -> None:
        """End it for certain."""
        with contextlib.suppress(OSError):
            os.close(self._stop)
        self._child.kill()
        self._child.join()


def _serve(tun: int, stop: int, base: int, delays: Sequence[float], results: Connection) -> None:
    held: list[list[float]] = [[] for _ in delays]
    waiting = list[tuple[float, float, int, bytes]]()
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([tun, stop], [], [], timeout)
        if stop in readable:
            break
        while waiting and waiting[0][0] <= time.monotonic():
            _, read_at, kind, late = heapq.heappop(waiting)
            os.write(tun, late)
            held[kind].append(time.monotonic() - read_at)
        if tun not in readable:
            continue
        packet, now = os.read(tun, _LARGEST_PACKET_BYTES), time.monotonic()
        if not (reply := answer(packet)):
            continue
        if packet[(packet[0] & 0x0F) * 4 + 13] & _SYN:
            kind = packet[17] - base
            heapq.heappush(waiting, (now + delays[kind], now, kind, reply))
        else:
            os.write(tun, reply)
    results.send(held)


def answer(packet: bytes) -> bytes | None:
    """Answer a SYN, data and a FIN; nothing else needs an answer."""
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    start = (packet[0] & 0x0F) * 4
    source, destination, number, acknowledged, offset, flags, *_ = _TCP_HEADER.unpack_from(packet, start)
    data_bytes = len(packet) - start - (offset >> 4) * 4
    if flags & _RST:
        return None
    ends = _Ends(packet[16:20], packet[12:16], destination, source)
    if flags & _SYN:
        return _segment(ends, 0, number + 1, _SYN | _ACK)
    if flags & _FIN:
        return _segment(ends, acknowledged, number + data_bytes + 1, _RST | _ACK)
    if data_bytes:
        return _segment(ends, acknowledged, number + data_bytes, _PSH | _ACK, RPC_ACCEPTANCE)
    return None


class _Ends(NamedTuple):
    """Whom a segment is from and for."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int


def _segment(ends: _Ends, number: int, acknowledged: int, flags: int, data: bytes = b"") -> bytes:
    """Build an IPv4 packet (RFC 791) with a TCP segment (RFC 9293)."""

    def tcp(checksum: int) -> bytes:
        return _TCP_HEADER.pack(
            ends.source_port,
            ends.destination_port,
            number & 0xFFFFFFFF,
            acknowledged & 0xFFFFFFFF,
            _TCP_HEADER.size // 4 << 4,
            flags,
            _WINDOW_BYTES,
            checksum,
            0,
        )

    def ip(checksum: int) -> bytes:
        length = _IP_HEADER.size + _TCP_HEADER.size + len(data)
        return _IP_HEADER.pack(0x45, 0, length, 0, 0x4000, _TTL, _TCP, checksum, *ends[:2])

    pseudo = ends.source + ends.destination + struct.pack(">HH", _TCP, _TCP_HEADER.size + len(data))
    return ip(_checksum(ip(0))) + tcp(_checksum(pseudo + tcp(0) + data)) + data


def _checksum(data: bytes) -> int:
    """Add up as RFC 1071 says."""
    data += b"\0" * (len(data) % 2)
    added: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while added > 0xFFFF:
        added = (added & 0xFFFF) + (added >> 16)
    return ~added & 0xFFFF
