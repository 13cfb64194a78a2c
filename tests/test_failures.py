"""Tests of the names that failures get: every error has one, and it is the one a person would act on."""

import errno
import socket
from collections.abc import Callable

import dns.exception
import dns.message
import dns.name
import dns.query
import pytest

from exporter.failures import classify_bind, classify_lookup, classify_probe
from exporter.model import LookupStatus, ProbeFailure

EVERY_ERRNO = sorted(errno.errorcode)
OF_A_CONNECT = {
    ProbeFailure.CONNECTION_REFUSED,
    ProbeFailure.CONNECTION_RESET,
    ProbeFailure.TIMEOUT,
    ProbeFailure.UNREACHABLE,
    ProbeFailure.LOCAL_ERROR,
}
UNANSWERED = {LookupStatus.TIMEOUT, LookupStatus.UNREACHABLE, LookupStatus.LOCAL_ERROR}


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (errno.ECONNREFUSED, "connection_refused"),
        (errno.ECONNRESET, "connection_reset"),
        (errno.ECONNABORTED, "connection_reset"),
        (errno.EPIPE, "connection_reset"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETDOWN, "unreachable"),
        (errno.EHOSTDOWN, "unreachable"),
        (errno.ENONET, "unreachable"),
        (errno.EACCES, "unreachable"),  # ICMPv6 "administratively prohibited", from a firewall on the way
        (errno.ENOPROTOOPT, "unreachable"),  # ICMP "protocol unreachable", likewise
        (errno.EMFILE, "local_error"),
        (errno.ENFILE, "local_error"),
        (errno.ENOBUFS, "local_error"),
        (errno.ENOMEM, "local_error"),
        (errno.EADDRNOTAVAIL, "local_error"),
        (errno.EADDRINUSE, "local_error"),
        (errno.EAFNOSUPPORT, "local_error"),
        (errno.EPERM, "local_error"),
        (errno.EINVAL, "local_error"),
    ],
    ids=errno.errorcode.get,
)
def test_probe_failure_of_errno(code: int, failure: str) -> None:
    """Each way in which a connect fails has its reason, and what the network did not do is `local_error`."""
    assert classify_probe(OSError(code, "what the system says")) is ProbeFailure(failure)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TimeoutError(), "timeout"),  # that of asyncio.timeout has no errno
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection_refused"),
        (OSError(), "local_error"),
        (OSError("no errno, only words"), "local_error"),
        (OSError(-1, "an errno of no system"), "local_error"),
        (socket.gaierror(socket.EAI_NONAME, "a number that is no errno"), "local_error"),
    ],
    ids=repr,
)
def test_probe_failure_of_exception(error: OSError, failure: str) -> None:
    """An error without an errno of connect(2) has a reason too."""
    assert classify_probe(error) is ProbeFailure(failure)


def test_every_errno_of_a_connect_has_a_reason() -> None:
    """Whatever the system says, the reason is one that a connect can have; no policy, and nothing of RPC."""
    reasons = {classify_probe(OSError(code, "")) for code in EVERY_ERRNO}
    assert reasons == OF_A_CONNECT


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TimeoutError(), "rpc_timeout"),
        (OSError(errno.ETIMEDOUT, "no acknowledgement"), "rpc_timeout"),
        (OSError(errno.EHOSTUNREACH, "the way was lost"), "rpc_timeout"),
        (OSError(errno.ENETUNREACH, "the way was lost"), "rpc_timeout"),
        (OSError(errno.EACCES, "administratively prohibited"), "rpc_timeout"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "rpc_closed"),
        (BrokenPipeError(errno.EPIPE, "reset before"), "rpc_closed"),
        (ConnectionAbortedError(errno.ECONNABORTED, "aborted"), "rpc_closed"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "late ICMP port unreachable"), "rpc_closed"),
        (OSError(errno.ENOBUFS, "no memory for sockets"), "local_error"),
        (OSError(errno.EPERM, "a packet filter of this machine"), "local_error"),
        (OSError(), "local_error"),
    ],
    ids=repr,
)
def test_bind_failure(error: OSError, failure: str) -> None:
    """On an established connection the same errors mean another thing: silence, or a hang-up."""
    assert classify_bind(error) is ProbeFailure(failure)


def test_every_errno_of_a_bind_has_a_reason() -> None:
    """Whatever the system says, the reason is not one of a handshake, for that went well."""
    reasons = {classify_bind(OSError(code, "")) for code in EVERY_ERRNO}
    assert reasons == {ProbeFailure.RPC_TIMEOUT, ProbeFailure.RPC_CLOSED, ProbeFailure.LOCAL_ERROR}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TimeoutError(), "timeout"),
        (OSError(errno.ETIMEDOUT, "as the kernel says it"), "timeout"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "ICMP port unreachable"), "unreachable"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "unreachable"),
        (OSError(errno.ENETUNREACH, "no route"), "unreachable"),
        (OSError(errno.EACCES, "administratively prohibited"), "unreachable"),
        (OSError(errno.EMFILE, "no file descriptor"), "local_error"),
        (OSError(errno.ENFILE, "no file descriptor in the whole machine"), "local_error"),
        (OSError(errno.ENOBUFS, "no memory for sockets"), "local_error"),
        (OSError(errno.ENOMEM, "no memory"), "local_error"),
        (OSError(errno.EADDRNOTAVAIL, "not our address"), "local_error"),
        (OSError(errno.EAFNOSUPPORT, "no IPv6 in this kernel"), "local_error"),
        (OSError(errno.EPERM, "a packet filter of this machine"), "local_error"),
        (OSError(errno.EAGAIN, "no thread"), "local_error"),
        (OSError(), "local_error"),
        (MemoryError(), "local_error"),
        (EOFError(), "bad_response"),
    ],
    ids=repr,
)
def test_lookup_status_of_exception(error: OSError | EOFError | MemoryError, status: str) -> None:
    """A lookup ends in silence, in no way to the server, in an answer that breaks off, or on this machine."""
    assert classify_lookup(error) is LookupStatus(status)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (dns.exception.Timeout, "timeout"),
        (dns.query.BadResponse, "bad_response"),
        (dns.message.ShortHeader, "bad_response"),
        (dns.message.TrailingJunk, "bad_response"),
        (dns.message.UnknownTSIGKey, "bad_response"),
        (dns.message.ChainTooLong, "bad_response"),
        (dns.name.BadPointer, "bad_response"),
        (dns.exception.FormError, "bad_response"),
        (dns.exception.DNSException, "bad_response"),
    ],
)
def test_lookup_status_of_dns_exception(kind: Callable[[], dns.exception.DNSException], status: str) -> None:
    """An answer that the DNS library cannot read is a bad one, and its silence is silence."""
    assert classify_lookup(kind()) is LookupStatus(status)


def test_every_errno_of_a_lookup_means_no_answer() -> None:
    """Whatever the system says, a server that could not be asked or heard did not answer."""
    assert {classify_lookup(OSError(code, "")) for code in EVERY_ERRNO} == UNANSWERED
    assert not any(status.answered or status.usable for status in UNANSWERED)


def test_lookups_and_probes_agree_on_what_is_local() -> None:
    """What this machine could not do is a matter of this machine whether it asked or probed."""
    for error in (OSError(code, "") for code in EVERY_ERRNO):
        of_a_probe = classify_probe(error) is ProbeFailure.LOCAL_ERROR
        assert (classify_lookup(error) is LookupStatus.LOCAL_ERROR) == of_a_probe, error
