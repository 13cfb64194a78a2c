"""A registry as an HTTP body: which format and encoding the client takes, and the bytes.

Pure functions over prometheus_client, fit to run in a thread. Formats:
https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

import gzip as gzip_codec
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_GZIP_LEVEL = 1  # label strings repeat: higher levels save little and cost much


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An HTTP body and the headers that describe it."""

    body: bytes
    headers: Mapping[str, str]


def normalize_accept(accept: str) -> str:
    """Give an Accept header that chooses the same format as this one; one that is not understood, any."""
    try:
        return choose_encoder(accept)[1]
    except (TypeError, ValueError):  # a version in quotes, say, which RFC 9110 allows
        return ""


def render(registry: CollectorRegistry, *, accept: str, gzip: bool) -> Page:
    """Render a registry in the format that the Accept header prefers, compressed if asked for."""
    encode, content_type = choose_encoder(accept)
    body = encode(registry)
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip:
        body = gzip_codec.compress(body, compresslevel=_GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Page(body=body, headers=headers)


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an Accept-Encoding header takes gzip (RFC 9110, 12.5.3); a quality of 0 refuses it."""
    for item in accept_encoding.lower().split(","):
        coding, _, parameters = item.partition(";")
        if coding.strip() == "gzip":
            quality = parameters.replace(" ", "").removeprefix("q=")
            return quality.strip("0.") != "" if quality else True
    return False
