"""The two configuration files: any bytes are a configuration or refused with what is wrong with them."""

import re
from collections.abc import Iterable

from exporter.config import Config, ConfigError, Problem, dump, json_schema, parse
from exporter.config.webfile import CIPHERS, CURVES, VERSIONS, TlsServer, WebConfig, parse_web
from tests.fuzz.target import pure

_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_YAML = (
    *(b": ", b"- ", b"? ", b"&a ", b"*a", b"<<: *a", b"!!str ", b"!!binary ", b"!!python/object:a ", b"!a "),
    *(
        b"|\n ",
        b">-\n ",
        b"--- ",
        b"...\n",
        b"%YAML 1.1\n",
        b"%TAG ! !\n",
        b'"\\u00e9"',
        b'"\\x01"',
        b"'",
        b'"',
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b", ",
        b"# ",
        b"\n  ",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
    ),
    *(b"null", b"~", b"true", b"yes", b".nan", b".inf", b"0x1F", b"0o17", b"1_000", b"1:30:00", b"1e400"),
    *(b"2001-01-01", b"2001-99-99", b"2001-01-01T00:00:00Z"),
)
_VALUES = (
    *(b"5s", b"1m30s", b"250ms", b"24h", b"-5s", b"292y", b"0", b"9999999999999999999y"),
    *(
        b"contoso.com",
        b"_a.b",
        b"1.2",
        b"b\xc3\xbccher.example",
        b"xn--bcher-kva.example",
        b"kms1.contoso.com:1689",
    ),
    *(
        b"10.0.0.1",
        b"10.0.0.0/8",
        b"[2001:db8::5]:1688",
        b"2001:db8::/32",
        b"fe80::1%eth0",
        b"::ffff:10.0.0.1",
    ),
    *(b"system", b"authoritative", b"ipv4", b"ipv6", b"65535", b"65536"),
)


def feed_config(data: bytes) -> bool:
    """Read a configuration file; one that is good means the same after it was written again."""
    try:
        config = parse(data)
    except ConfigError as error:
        _check_problems(error.problems, data)
        return False
    assert isinstance(config, Config)
    assert config.zones or config.hosts or config.clients or config.web.probe_allow
    assert 0 < config.timeout < config.interval
    assert parse(dump(config).encode()) == config
    return True


def feed_web_config(data: bytes) -> bool:
    """Read a web configuration file."""
    try:
        web = parse_web(data)
    except ConfigError as error:
        _check_problems(error.problems, data)
        _check_discretion(error.problems)
        return False
    assert isinstance(web.config, WebConfig)
    assert all(":" not in user for user in web.config.basic_auth_users)
    assert not web.config.tls_server_config.requires or web.config.tls_server_config.is_on
    return True


def _check_discretion(problems: Iterable[Problem]) -> None:
    """Hold that no path ends in the name of a user."""
    assert not any(problem.path.startswith("basic_auth_users.") for problem in problems)


def _check_problems(problems: Iterable[Problem], data: bytes) -> None:
    """Hold that there is something to read, each problem on a line of the file and in a line of its own."""
    last = 1 + len(_BREAKS.findall(data.decode(errors="replace")))
    told = tuple(problems)
    assert told
    for problem in told:
        assert problem.message
        assert problem.line is None or 1 <= problem.line <= last
        assert str(problem).isprintable()


def _keys() -> Iterable[bytes]:
    schema = json_schema()
    sections = (schema, *schema["$defs"].values())
    names = sorted({name for section in sections for name in section.get("properties", ())})
    return (f"{name}: ".encode() for name in names)


CONFIG = pure(feed_config, (*_keys(), *_YAML, *_VALUES), longest=4096)
WEB_CONFIG = pure(
    feed_web_config,
    (
        *(f"{name}: ".encode() for name in (*WebConfig.model_fields, *TlsServer.model_fields)),
        *(word.encode() for word in (*VERSIONS, *CIPHERS, *CURVES)),
        *(
            b"headers: ",
            b"http2: ",
            b"rate_limit: ",
            b"RequireAndVerifyClientCert",
            b"VerifyClientCertIfGiven",
        ),
        *(b"NoClientCert", b"RequestClientCert", b"X-Frame-Options: deny", b"Strict-Transport-Security: x"),
        *(b"alice: ", b"$2b$10$eTx1JvNmtAlq2pxpppZ.heO9IXDTmwpPY.Kf4mfJir2M1q37/IJjG", b"/-/healthy"),
        *_YAML,
    ),
    longest=4096,
)
