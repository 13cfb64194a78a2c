"""HTML from templates: everything is escaped, and nothing but this server's own files is loaded or run.

The policy is that of https://www.w3.org/TR/CSP3/: no inline script or style, no frame, no other origin.
"""

from collections.abc import Mapping
from typing import Any

import jinja2
from aiohttp import hdrs

from exporter.build import BuildInfo
from exporter.web.assets import Assets
from exporter.web.exposition import Page
from exporter.web.paths import Paths
from exporter.web.rendering import pack
from exporter.web.words import Tone, moment

REFRESH_SECONDS = 15
HEADERS: Mapping[str, str] = {
    hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("exporter.web"),
    autoescape=True,
    auto_reload=False,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals["tones"] = Tone
_LINKS = (
    ("/metrics", "Metrics"),
    ("/sd", "Service discovery"),
    ("/api/v1/status", "JSON"),
    ("/config", "Configuration"),
    ("/-/healthy", "Health"),
    ("/-/ready", "Readiness"),
)
"""The other pages, as every page links to them."""


class Html:
    """Renders pages with all that is the same on each."""

    def __init__(self, *, paths: Paths, assets: Assets, build: BuildInfo) -> None:
        self._common = {
            "link": paths.link,
            "asset": assets.link,
            "build": build,
            "links": _LINKS,
            "refresh_seconds": REFRESH_SECONDS,
        }

    def render(self, template: str, *, now: float, gzip: bool, **values: Any) -> Page:  # noqa: ANN401 (any value)
        """Render a page as of `now`, fit to run in a thread."""
        text = _PAGES.get_template(template).render(**self._common, now=moment(now, now=now), **values)
        return pack(text, HEADERS, gzip=gzip)
