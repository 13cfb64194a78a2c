"""What is answered when there is no page for a request, or when a page met a bug."""

from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.web.backend import Backend

log = structlog.get_logger(__name__)


class Errors:
    """Turns what went wrong into an answer that a person can use, and nothing else."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 500 to a request that met a bug; the log and a counter tell of it, the answer does not."""
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            self._backend.count_internal_error()
            log.exception("internal error", path=request.path)
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR, text="internal error, see the log\n")
