"""Metrics as an HTTP body: which format and encoding the client takes, and the bytes.

Pure functions over prometheus_client, fit to run in a thread or in steps. Formats:
https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from exporter.metrics import Chunk, Encode, compress, join
from exporter.steps import Steps, finish


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
    encode, content_type = choose_format(accept)
    return finish(make_page([Chunk(encode(registry))], content_type, gzip=gzip))


def choose_format(accept: str) -> tuple[Encode, str]:
    """Give the encoder of the format that the Accept header prefers, and its content type."""
    return choose_encoder(accept)


def make_page(chunks: Sequence[Chunk], content_type: str, *, gzip: bool) -> Steps[Page]:
    """Make a page of its parts, compressed if asked for."""
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip:
        return Page(body=(yield from compress(chunks)), headers={**headers, "Content-Encoding": "gzip"})
    return Page(body=join(chunks), headers=headers)


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an Accept-Encoding header takes gzip (RFC 9110, 12.5.3); a quality of 0 refuses it."""
    for item in accept_encoding.lower().split(","):
        coding, _, parameters = item.partition(";")
        if coding.strip() == "gzip":
            quality = parameters.replace(" ", "").removeprefix("q=")
            return quality.strip("0.") != "" if quality else True
    return False
