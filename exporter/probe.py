"""One endpoint, one TCP handshake: whether it completes, how long the kernel says it took, or why not.

Takes a literal address and gives a value object; resolves no names, keeps no memory, registers no metric.
The round trip comes from `struct tcp_info` (tcp(7), https://man7.org/linux/man-pages/man7/tcp.7.html; the
layout is that of include/uapi/linux/tcp.h), because a clock in user space also measures the event loop.
"""

import asyncio
import ipaddress
import socket
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

from exporter.failures import classify_probe
from exporter.model import Endpoint, ProbeFailure, ProbeResult
from exporter.sockets import open_socket, socket_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TCP_INFO = struct.Struct("=68xI28xI")  # tcpi_rtt at byte 68, tcpi_total_retrans at byte 100
_MICROSECONDS_PER_SECOND = 1e6


class Handshake(NamedTuple):
    """What the kernel knows of a handshake; `rtt_seconds` is 0 where it does not tell."""

    rtt_seconds: float
    syn_retransmits: int


def is_allowed(address: str, port: int, *, networks: Sequence[Network], ports: Sequence[int]) -> bool:
    """Tell whether an endpoint may be connected to at all.

    Without `networks`: anywhere but loopback, link-local, multicast and unspecified addresses; otherwise
    only there. Without `ports`: any. An IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) counts as the IPv4
    address that the kernel would connect to.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ports and port not in ports:
        return False
    if networks:
        return any(ip in network for network in networks)
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


async def probe(
    endpoint: Endpoint, *, timeout_seconds: float, source_address: str | None = None
) -> ProbeResult:
    """Connect to one endpoint and hang up.

    The socket is closed when this returns or is cancelled, whatever happened. Never raises for a failure
    of the network or of this machine's resources: that is the result's `failure`.
    """
    failure = None
    handshake = Handshake(0.0, 0)
    elapsed_seconds = 0.0
    try:
        with open_socket(endpoint.address, socket.SOCK_STREAM, source_address=source_address) as sock:
            address = socket_address(endpoint.address, endpoint.port)
            start = time.perf_counter()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await asyncio.get_running_loop().sock_connect(sock, address)
                elapsed_seconds = time.perf_counter() - start
            finally:
                handshake = _read_handshake(sock)
    except OSError as error:
        failure = classify_probe(error)
    return ProbeResult(
        endpoint=endpoint,
        finished_at=time.time(),
        finished_monotonic=time.monotonic(),
        failure=failure,
        connect_seconds=None if failure else handshake.rtt_seconds or elapsed_seconds,
        syn_retransmits=handshake.syn_retransmits,
    )


def not_probed(endpoint: Endpoint, failure: ProbeFailure) -> ProbeResult:
    """Make the result of a probe that did not take place."""
    return ProbeResult(
        endpoint=endpoint, finished_at=time.time(), finished_monotonic=time.monotonic(), failure=failure
    )


def _read_handshake(sock: socket.socket) -> Handshake:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        rtt_microseconds, retransmits = _TCP_INFO.unpack(info)
    except (AttributeError, OSError, struct.error):  # not Linux, or a kernel that tells less
        return Handshake(0.0, 0)
    return Handshake(rtt_microseconds / _MICROSECONDS_PER_SECOND, retransmits)
