"""Style sheet, script and icon of the pages, read once, each at a path that changes with its content.

So a browser may keep them for ever and still never shows a page with the style of another version.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from aiohttp import hdrs, web

from exporter.web.paths import Paths

_TYPES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_HEADERS = {
    hdrs.CACHE_CONTROL: "max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    path: str
    body: bytes
    content_type: str


class Assets:
    """The files that pages load."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._assets: Mapping[str, _Asset] = {name: _read(name) for name in _TYPES}

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of these files."""
        return [web.get(self._paths.route("/static/{file}"), self._answer)]

    def link(self, name: str) -> str:
        """Give the path by which a page loads a file."""
        return self._paths.link(self._assets[name].path)

    async def _answer(self, request: web.Request) -> web.Response:
        wanted = f"/static/{request.match_info['file']}"
        for asset in self._assets.values():
            if asset.path == wanted:
                return web.Response(
                    body=asset.body, headers={**_HEADERS, hdrs.CONTENT_TYPE: asset.content_type}
                )
        raise web.HTTPNotFound


def _read(name: str) -> _Asset:
    body = resources.files("exporter.web").joinpath("static", name).read_bytes()
    stem, _, suffix = name.rpartition(".")
    version = hashlib.sha256(body).hexdigest()[:12]
    return _Asset(path=f"/static/{stem}-{version}.{suffix}", body=body, content_type=_TYPES[name])
