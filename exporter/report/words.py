"""The words and symbols that a person reads in any form of the report.

Pure data and functions. A symbol never stands alone: the word of the verdict is beside it.
"""

from collections.abc import Mapping

from exporter.diagnosis import LikelyError, Mark, Selection, ServerDiagnosis, Verdict

MEANINGS: Mapping[Verdict, str] = {
    Verdict.OK: "every host is up",
    Verdict.DEGRADED: "a host is up, another is not",
    Verdict.DNS_FAILED: "the DNS server gives no usable answer",
    Verdict.SRV_MISSING: "no host is published",
    Verdict.SRV_DECLINED: "the service is declared not to be available",
    Verdict.TARGET_UNRESOLVABLE: "no host has an address",
    Verdict.PORT_FILTERED: "nothing comes back from the port",
    Verdict.PORT_CLOSED: "nothing listens on the port",
    Verdict.KMS_SILENT: "the port is open, but no service answers behind it",
    Verdict.NOT_KMS: "what answers on the port is not KMS",
    Verdict.UNKNOWN: "nobody could look",
}
MARK_SYMBOLS: Mapping[Mark, str] = {
    Mark.PASSED: "\N{CHECK MARK}",
    Mark.PARTLY: "!",
    Mark.FAILED: "\N{BALLOT X}",
    Mark.UNKNOWN: "?",
    Mark.NOT_REACHED: "-",
}
_SELECTIONS: Mapping[Selection, str] = {
    Selection.RFC2782: "by priority and weight",
    Selection.RANDOM: "of clients that take any record",
}


def show_error(error: LikelyError) -> str:
    """Spell out a likely error: what shows, what lies underneath, and how sure that is."""
    cause = f" over {error.cause}" if error.cause else ""
    elsewhere = f", shown as {error.elsewhere}" if error.elsewhere else ""
    return (
        "Likely on a Windows client, unless it is activated through Active Directory: "
        f"{error.shown}{cause}{elsewhere}; certainty {error.certainty}"
    )


def show_chances(server: ServerDiagnosis) -> str:
    """Give the chances of a first attempt where they differ between hosts, else nothing."""
    known = [f"{chance:.0%} {_SELECTIONS[selection]}" for selection, chance in server.first_attempt.items()]
    if known and server.verdict.works and set(server.first_attempt.values()) != {1.0}:
        return f"First attempts that work: {', '.join(known)}"
    return ""


def show_meaning(verdict: Verdict, *, of_one_host: bool = False) -> str:
    """Say what a verdict means, of a zone or of one host."""
    return "the host is up" if of_one_host and verdict is Verdict.OK else MEANINGS[verdict]
