"""Tests of where the pages are, behind a reverse proxy too."""

import asyncio
from http import HTTPStatus

import pytest
from aiohttp.test_utils import TestClient, TestServer

from exporter.web import Paths, make_application, make_paths
from tests.services import DEADLINE_SECONDS
from tests.test_web import backend


@pytest.mark.parametrize(
    ("external_url", "route_prefix", "links", "routes"),
    [
        (None, None, "", ""),
        (None, "/", "", ""),
        (None, "/kms", "", "/kms"),
        ("http://kms.contoso.com", None, "", ""),
        ("http://kms.contoso.com/", None, "", ""),
        ("https://monitoring.contoso.com/kms", None, "/kms", "/kms"),
        ("https://monitoring.contoso.com:8443/a/kms/", None, "/a/kms", "/a/kms"),
        ("https://monitoring.contoso.com/kms/", "/", "/kms", ""),
        ("https://monitoring.contoso.com/kms/", "", "/kms", ""),
        ("https://monitoring.contoso.com/kms/", "exporter", "/kms", "/exporter"),
    ],
)
def test_paths(external_url: str | None, route_prefix: str | None, links: str, routes: str) -> None:
    """Links have the path of the external URL, and so have requests unless a proxy takes it away."""
    paths = make_paths(external_url=external_url, route_prefix=route_prefix)
    assert paths == Paths(routes=routes, links=links)
    assert paths.link("/metrics") == f"{links}/metrics"
    assert paths.route("/metrics") == f"{routes}/metrics"


@pytest.mark.parametrize(
    ("external_url", "route_prefix", "message"),
    [
        ("monitoring.contoso.com/kms", None, "is not a URL such as"),
        ("ftp://monitoring.contoso.com/", None, "is not a URL such as"),
        ("http:///kms", None, "is not a URL such as"),
        ("http://[::1/kms", None, "Invalid IPv6 URL"),
        ("http://monitoring.contoso.com/kms?a=b", None, "has more than a path"),
        ("http://monitoring.contoso.com/#kms", None, "has more than a path"),
        (None, "/a b", "is not a plain path"),
        (None, "/a//b", "is not a plain path"),
        (None, "/a/../b", "is not a plain path"),
        (None, "/{zone}", "is not a plain path"),
        (None, "/kms?x", "is not a plain path"),
    ],
)
def test_paths_that_cannot_be(external_url: str | None, route_prefix: str | None, message: str) -> None:
    """What is no URL of a page, or no plain prefix, is refused with the reason."""
    with pytest.raises(ValueError, match=message):
        make_paths(external_url=external_url, route_prefix=route_prefix)


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_pages_below_a_prefix(path: str) -> None:
    """With a route prefix, every page is below it, and none is where it was."""

    async def look() -> None:
        application = make_application(backend(paths=Paths(routes="/kms", links="/kms")))
        async with asyncio.timeout(DEADLINE_SECONDS), TestClient(TestServer(application)) as client:
            assert (await client.get(f"/kms{path}")).status == HTTPStatus.OK
            if path != "/":
                assert (await client.get(path)).status == HTTPStatus.NOT_FOUND

    asyncio.run(look())
