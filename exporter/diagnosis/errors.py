"""Which error a Windows client is likely to show, and how sure that is.

Data and one pure lookup in it. The codes are those of winerror.h
(https://learn.microsoft.com/en-us/windows/win32/debug/system-error-codes) and of the activation documents
(https://learn.microsoft.com/en-us/troubleshoot/windows-server/licensing-and-activation/troubleshoot-activation-error-codes).
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.diagnosis.verdicts import Verdict
from exporter.model import LookupStatus


class Certainty(enum.StrEnum):
    """How sure it is that a client shows this code."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCode:
    """A Windows error: its code as people see it, and its symbol."""

    code: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.code} ({self.symbol})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyError:
    """What a client is likely to show; `cause` is the error underneath, which its event log has.

    `elsewhere` is another code that some Windows versions show for the same.
    """

    shown: ErrorCode
    certainty: Certainty
    cause: ErrorCode | None = None
    elsewhere: str | None = None


_NO_SERVICE = ErrorCode(code="0xC004F074", symbol="SL_E_VL_BINDING_SERVICE_UNAVAILABLE")
_RPC_UNAVAILABLE = ErrorCode(code="0x800706BA", symbol="RPC_S_SERVER_UNAVAILABLE")
_RPC_UNKNOWN_INTERFACE = ErrorCode(code="0x800706B5", symbol="RPC_S_UNKNOWN_IF")
_SERVER_FAILURE = ErrorCode(code="0x8007232A", symbol="DNS_ERROR_RCODE_SERVER_FAILURE")

_BY_STATUS: Mapping[LookupStatus, LikelyError] = {
    LookupStatus.NXDOMAIN: LikelyError(
        shown=ErrorCode(code="0x8007232B", symbol="DNS_ERROR_RCODE_NAME_ERROR"),
        certainty=Certainty.HIGH,
        elsewhere="0x80092328 in the activation wizard of Windows 7",
    ),
    LookupStatus.NODATA: LikelyError(
        shown=ErrorCode(code="0x8007251D", symbol="DNS_INFO_NO_RECORDS"), certainty=Certainty.HIGH
    ),
    LookupStatus.SERVFAIL: LikelyError(shown=_SERVER_FAILURE, certainty=Certainty.HIGH),
    LookupStatus.TIMEOUT: LikelyError(shown=_SERVER_FAILURE, certainty=Certainty.MEDIUM),
    LookupStatus.UNREACHABLE: LikelyError(shown=_SERVER_FAILURE, certainty=Certainty.MEDIUM),
    LookupStatus.REFUSED: LikelyError(
        shown=ErrorCode(code="0x8007232D", symbol="DNS_ERROR_RCODE_REFUSED"), certainty=Certainty.MEDIUM
    ),
    LookupStatus.BAD_RESPONSE: LikelyError(
        shown=ErrorCode(code="0x80072329", symbol="DNS_ERROR_RCODE_FORMAT_ERROR"), certainty=Certainty.LOW
    ),
}
_BY_VERDICT: Mapping[Verdict, LikelyError] = {
    Verdict.SRV_DECLINED: LikelyError(shown=_NO_SERVICE, certainty=Certainty.LOW),
    Verdict.TARGET_UNRESOLVABLE: LikelyError(
        shown=_NO_SERVICE, certainty=Certainty.MEDIUM, cause=_RPC_UNAVAILABLE
    ),
    Verdict.PORT_FILTERED: LikelyError(shown=_NO_SERVICE, certainty=Certainty.HIGH, cause=_RPC_UNAVAILABLE),
    Verdict.PORT_CLOSED: LikelyError(shown=_NO_SERVICE, certainty=Certainty.HIGH, cause=_RPC_UNAVAILABLE),
    Verdict.KMS_SILENT: LikelyError(shown=_NO_SERVICE, certainty=Certainty.MEDIUM, cause=_RPC_UNAVAILABLE),
    Verdict.NOT_KMS: LikelyError(shown=_NO_SERVICE, certainty=Certainty.LOW, cause=_RPC_UNKNOWN_INTERFACE),
}


def likely_error(verdict: Verdict, status: LookupStatus | None = None) -> LikelyError | None:
    """Tell what a client shows on a verdict; `status` is that of the SRV lookup, where there was one."""
    if verdict in {Verdict.DNS_FAILED, Verdict.SRV_MISSING}:
        return _BY_STATUS.get(status) if status else None
    return _BY_VERDICT.get(verdict)
