"""What is answered when there is no page for a request, or when a page met a bug.

Such an answer repeats nothing of the request: what a stranger sent is neither markup nor text to anybody.
"""

import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from exporter.web.backend import Backend
from exporter.web.html import Html
from exporter.web.rendering import accepted

log = structlog.get_logger(__name__)


class Errors:
    """Turns what went wrong into an answer that a person can use, and nothing else."""

    def __init__(self, backend: Backend, html: Html) -> None:
        self._backend = backend
        self._paths = backend.paths
        self._html = html

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Say where the pages are when there is none, and answer 500 to a request that met a bug.

        Of a bug the log and a counter tell, the answer does not. What a page itself refuses stays as it is.
        """
        try:
            return await handler(request)
        except web.HTTPException as error:
            if request.match_info.http_exception is None:
                raise
            return self._without_page(request, error)
        except Exception:
            self._backend.count_internal_error()
            log.exception("internal error", path=request.path)
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="internal error, see the log\n")

    def _without_page(self, request: web.Request, error: web.HTTPException) -> web.Response:
        if isinstance(error, web.HTTPMethodNotAllowed):
            return _method_not_allowed(error)
        home = self._paths.link("/")
        if request.path == "/" != home and request.method in {hdrs.METH_GET, hdrs.METH_HEAD}:
            return web.Response(status=HTTPStatus.FOUND, headers={hdrs.LOCATION: home})
        return self._not_found(request)

    def _not_found(self, request: web.Request) -> web.Response:
        pages = [path.removeprefix(self._paths.routes) for path in _pages(request.app)]
        hint = self._hint(request.path, pages)
        links = [self._paths.link(page) for page in pages]
        if prefers_html(accepted(request)):
            page = self._html.render("not_found.html", now=time.time(), gzip=False, hint=hint, pages=links)
            headers = {**page.headers, hdrs.VARY: hdrs.ACCEPT}
            return web.Response(status=HTTPStatus.NOT_FOUND, body=page.body, headers=headers)
        text = "\n".join([f"There is no such page. {hint}".strip(), "The pages are:", *links])
        return web.Response(status=HTTPStatus.NOT_FOUND, text=f"{text}\n", headers={hdrs.VARY: hdrs.ACCEPT})

    def _hint(self, path: str, pages: Sequence[str]) -> str:
        """Say what may be wrong with a path, if that can be told."""
        prefix = self._paths.routes
        if not path.startswith(f"{prefix}/") and path != prefix:
            return f"Every path here begins with {prefix}/."
        meant = path.removeprefix(prefix).rstrip("/") or "/"
        return f"Did you mean {self._paths.link(meant)}?" if meant in pages else ""


def _pages(application: web.Application) -> Iterable[str]:
    """List the paths of the pages, without those that have a part to fill in."""
    return sorted(
        route.resource.canonical
        for route in application.router.routes()
        if route.method == hdrs.METH_GET and isinstance(route.resource, web.PlainResource)
    )


def _method_not_allowed(error: web.HTTPMethodNotAllowed) -> web.Response:
    """Say what the page is for (RFC 9110, 15.5.6)."""
    methods = sorted(error.allowed_methods)
    return web.Response(
        status=HTTPStatus.METHOD_NOT_ALLOWED,
        headers={hdrs.ALLOW: ",".join(methods)},
        text=f"This page does not take that method, only {' and '.join(methods)}.\n",
    )


def prefers_html(accept: str) -> bool:
    """Tell whether an Accept header names HTML and likes plain text no better (RFC 9110, 12.5.1)."""
    quality = {}
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        quality[media_type] = next((_quality(each) for each in parameters if each.startswith("q=")), 1.0)
    return quality.get("text/html", 0) > 0 and quality["text/html"] >= quality.get("text/plain", 0)


def _quality(parameter: str) -> float:
    try:
        return float(parameter.removeprefix("q="))
    except ValueError:
        return 0.0
