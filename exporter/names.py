r"""Domain names in the one form that the project compares, stores and shows.

Pure functions. The canonical form is lower case, without the trailing dot, as A-labels (RFC 5890);
bytes outside letters, digits, `-` and `_` are written `\DDD` (RFC 1035, 5.1; RFC 4343, 2.1), so the form is
plain ASCII whatever a DNS answer holds, and no two names share it.
"""

import re
from collections.abc import Iterable

import idna

SRV_PREFIX = "_vlmcs._tcp."
MAX_NAME = 253
_MAX_LABEL = 63
_MAX_TEXT = 1024
_DOTS = re.compile("[.\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH FULL STOP}\N{HALFWIDTH IDEOGRAPHIC FULL STOP}]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
_BYTES = [chr(b) if b in _PLAIN else f"\\{b:03d}" for b in bytes(range(256)).lower()]


def parse_name(text: str, *, max_length: int = MAX_NAME) -> str:
    """Bring a name that a person wrote into canonical form.

    Unicode labels become A-labels (IDNA 2008 with the mapping of UTS 46). Raises ValueError that says
    what is wrong with the name.
    """
    if len(text) > _MAX_TEXT:  # before any work that a huge text would make slow
        raise ValueError(f"is longer than {max_length} characters")
    labels = _DOTS.split(text[:-1] if text and _DOTS.fullmatch(text[-1]) else text)
    name = ".".join(_parse_label(label) for label in labels)
    if len(name) > max_length:
        raise ValueError(f"is longer than {max_length} characters")
    return name


def canonical(text: str) -> str:
    """Bring what may be a name into canonical form; what is none stays as it is."""
    try:
        return parse_name(text)
    except ValueError:
        return text


def _parse_label(text: str) -> str:
    if not text:
        raise ValueError("has an empty label")
    if text.isascii():
        label = text.lower()
    else:
        try:
            label = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"has a label that is no internationalized name: {text!r}") from error
    if len(label) > _MAX_LABEL:
        raise ValueError(f"has a label longer than {_MAX_LABEL} characters")
    if not _LABEL.fullmatch(label):
        raise ValueError(f"has a label with characters that host names may not have: {text!r}")
    return label


def show_labels(labels: Iterable[bytes]) -> str:
    """Write the labels of a wire-format name in canonical form; the root is `.`."""
    return ".".join("".join(_BYTES[byte] for byte in label) for label in labels if label) or "."
