"""Basic authentication against bcrypt hashes (RFC 7617), and headers that every answer carries.

Whoever guesses learns nothing from the time that a refusal takes: a user who is not there, and one whose hash
is cheap, cost as much as the most expensive hash. Whoever was let in is remembered, so that a scrape every 15
seconds computes no hash. A flood of guesses takes a share of those who may wait, not all of
it. No user name and no password is logged or shown.
"""

import asyncio
import base64
import binascii
import functools
import hmac
import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping
from http import HTTPStatus

import bcrypt
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from exporter.config.webfile import WebConfig
from exporter.threads import run_aside
from exporter.web.paths import Paths

MOST_WAITING = 64
MOST_WAITING_OF_ONE = 16
"""From one address: a flood of guesses from there leaves room for others to show a password."""
MOST_REMEMBERED = 256
_LONGEST_PASSWORD = 72
"""Where bcrypt itself stops; more is left out, as every implementation before this one has done."""
_CHEAPEST = 4
_CHALLENGE = 'Basic realm="kms-exporter", charset="UTF-8"'

Credentials = tuple[bytes, bytes]


class Accounts:
    """The users of one configuration, and which credentials were right lately."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {user.encode(): hashed.encode() for user, hashed in users.items()}
        self._most = max(map(_cost, self._hashes.values()), default=_CHEAPEST)
        self._salts = {cost: bcrypt.gensalt(cost) for cost in range(_CHEAPEST, self._most + 1)}
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def remembers(self, credentials: Credentials) -> bool:
        """Tell whether these credentials were right before."""
        key = self._digest(credentials)
        if key in self._right:
            self._right.move_to_end(key)
            return True
        return False

    def remember(self, credentials: Credentials) -> None:
        """Take note of right credentials, by a digest that is worth nothing outside of this process."""
        self._right[self._digest(credentials)] = None
        if len(self._right) > MOST_REMEMBERED:
            self._right.popitem(last=False)

    def verify(self, credentials: Credentials) -> bool:
        """Tell whether credentials are right, in a time that depends on nothing but the dearest hash.

        The costs of bcrypt are powers of two, so that hashes of the costs from one up to another, added to
        the first, cost as much as one of the last.
        """
        user, password = credentials
        hashed = self._hashes.get(user)
        if b"\0" in password:  # which some implementations take for its end
            hashed, password = None, password.replace(b"\0", b"")
        password = password[:_LONGEST_PASSWORD]
        if hashed is None:
            bcrypt.hashpw(password, self._salts[self._most])
            return False
        is_right = bcrypt.checkpw(password, hashed)
        for cost in range(_cost(hashed), self._most):
            bcrypt.hashpw(password, self._salts[cost])
        return is_right

    def _digest(self, credentials: Credentials) -> bytes:
        user, password = credentials
        return hmac.digest(self._key, len(user).to_bytes(4, "big") + user + password, "sha256")


class Access:
    """Lets requests in or not, and adds the headers; `use` changes both for the requests to come."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._one_at_a_time = asyncio.Semaphore()
        self._waiting: Counter[str] = Counter()
        self._users: Mapping[str, str] = {}
        self._accounts = Accounts(self._users)
        self.use(WebConfig())

    def use(self, config: WebConfig) -> None:
        """Go by this configuration from now on; when users change, all show a password again."""
        if config.basic_auth_users != self._users:
            self._users = config.basic_auth_users
            self._accounts = Accounts(self._users)
        self._open = {self._paths.route(path) for path in config.basic_auth_excluded_paths}
        self._headers = {name: value for name, value in config.http_server_config.headers.items() if value}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 to a request without the right password, 503 when too many wait for an answer."""
        accounts = self._accounts
        if not accounts or self._is_open(request):
            return await handler(request)
        credentials = _read(request.headers.get(hdrs.AUTHORIZATION, ""))
        if credentials is None:
            return _refuse()
        if not accounts.remembers(credentials):
            client = request.remote or ""
            if self._waiting.total() >= MOST_WAITING or self._waiting[client] >= MOST_WAITING_OF_ONE:
                return _too_many()
            if not await self._verify(accounts, credentials, client):
                return _refuse()
        return await handler(request)

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that the configuration asks for, in place of those that a page has."""
        response.headers.update(self._headers)

    def _is_open(self, request: web.Request) -> bool:
        """Tell whether the page that was found for a request is for everybody."""
        resource = request.match_info.route.resource
        return resource is not None and resource.canonical in self._open

    async def _verify(self, accounts: Accounts, credentials: Credentials, client: str) -> bool:
        """Compute one hash at a time: guesses must not take the processor from the checks."""
        self._waiting[client] += 1
        try:
            async with self._one_at_a_time:
                if accounts.remembers(credentials):  # from another request, meanwhile
                    return True
                is_right = await run_aside(functools.partial(accounts.verify, credentials))
        finally:
            self._waiting -= Counter([client])  # which keeps none at 0
        if is_right:
            accounts.remember(credentials)
        return is_right


def _read(header: str) -> Credentials | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def _refuse() -> web.Response:
    return web.Response(
        status=HTTPStatus.UNAUTHORIZED,
        headers={hdrs.WWW_AUTHENTICATE: _CHALLENGE},
        text="a user name and its password are needed\n",
    )


def _too_many() -> web.Response:
    return web.Response(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={hdrs.RETRY_AFTER: "1"},
        text="too many passwords wait to be verified, try again\n",
    )


def _cost(hashed: bytes) -> int:
    return int(hashed.split(b"$")[2])
