"""Where the pages are, seen from here and seen from a browser that may be behind a reverse proxy.

Pure. The two differ where a proxy takes a prefix away before it passes a request on, as with Prometheus' own
`--web.external-url` and `--web.route-prefix`.
"""

import urllib.parse
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Two prefixes, each empty or with a slash in front and none behind.

    `routes` is what a request has in its path when it gets here, `links` what a browser has to put there.
    """

    routes: str = ""
    links: str = ""

    def route(self, path: str) -> str:
        """Give the path at which a page is served here; `path` starts with a slash."""
        return self.routes + path

    def link(self, path: str) -> str:
        """Give the path by which a browser gets to a page, as it stands in a link."""
        return self.links + path


def make_paths(*, external_url: str | None, route_prefix: str | None) -> Paths:
    """Make the paths of a URL under which browsers reach the exporter, and of the prefix of requests here.

    Without `route_prefix`, requests get here with the path of the URL. Raises ValueError that says what is
    wrong with either.
    """
    links = _clean(_path_of(external_url)) if external_url else ""
    return Paths(routes=links if route_prefix is None else _clean(route_prefix), links=links)


def _path_of(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL such as https://monitoring.contoso.com/kms/")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than a path behind the host")
    return parts.path


def _clean(prefix: str) -> str:
    """Bring a prefix into one form; what would have to be quoted in a path is refused."""
    path = f"/{prefix.strip('/')}" if prefix.strip("/") else ""
    if path != urllib.parse.quote(path) or "//" in path or {".", ".."} & set(path.split("/")):
        raise ValueError(f"{prefix!r} is not a plain path such as /kms")
    return path
