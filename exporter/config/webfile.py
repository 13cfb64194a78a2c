"""The web configuration file: YAML → `WebFile`, or every problem with its line and key path.

The format is that of Prometheus' exporter-toolkit,
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md, of which a key that
cannot be had here is refused by name, and with one key more, `basic_auth_excluded_paths`. The files that it
names are opened elsewhere. No problem shows a user name, a hash or a key, for problems are logged.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError

from exporter.config.problems import ConfigError, Path, Problem, show, show_path
from exporter.config.source import Document, read
from exporter.config.validation import translate

LONGEST_TEXT = 2**18
"""For certificates that stand in the file itself, chains included."""
VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
CIPHERS: Mapping[str, str | None] = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""What Go's tls.CipherSuites lists, with OpenSSL's names; TLS 1.3 has its own, which are always on."""
CURVES: Mapping[str, str] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
"""The names of the format, with OpenSSL's."""

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_EXCLUDABLE = ("/-/healthy", "/-/ready")
_REQUIRE, _IF_GIVEN, _NO_CERTIFICATE = (
    "RequireAndVerifyClientCert",
    "VerifyClientCertIfGiven",
    "NoClientCert",
)
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_COSTS = range(4, 19)
_QUOTED = re.compile(r"""(: )?(['"]).*\2""", re.DOTALL)


def _one_of(choices: Iterable[str], unsupported: Mapping[str, str] | None = None) -> PlainValidator:
    def validate(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            refused = (unsupported or {}).get(value) if isinstance(value, str) else None
            raise ValueError(refused or f"must be one of {', '.join(choices)}")
        return value

    return PlainValidator(validate)


def _not_empty(value: object) -> object:
    if value in ("", ()):
        raise ValueError("must not be empty")
    return value


def _no_http2(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    if value:
        raise ValueError("true is not supported by kms-exporter, which speaks HTTP/1.1: leave it out")
    return value


_UNVERIFIED_MESSAGE = (
    "{} is not supported by kms-exporter: a certificate that is not verified proves nothing; take " + _REQUIRE
)
Text = Annotated[str, BeforeValidator(_not_empty)]
Version = Annotated[str, _one_of(VERSIONS)]
ClientAuth = Annotated[
    str,
    _one_of(
        (_NO_CERTIFICATE, _IF_GIVEN, _REQUIRE),
        {name: _UNVERIFIED_MESSAGE.format(name) for name in _UNVERIFIED},
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class TlsServer(_Part):
    """How TLS is served; without a certificate it is not."""

    cert: Text | None = Field(default=None, repr=False)
    key: Text | None = Field(default=None, repr=False)
    client_ca: Text | None = Field(default=None, repr=False)
    cert_file: Text | None = None
    key_file: Text | None = None
    client_ca_file: Text | None = None
    client_auth_type: ClientAuth = _NO_CERTIFICATE
    client_allowed_sans: Annotated[tuple[Text, ...], BeforeValidator(_not_empty)] | None = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[str, _one_of(CIPHERS)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Annotated[str, _one_of(CURVES)], ...] = ()

    @property
    def is_on(self) -> bool:
        """Whether TLS is served at all."""
        return bool(self.cert or self.cert_file)

    @property
    def verifies(self) -> bool:
        """Whether the certificates of clients are verified."""
        return self.client_auth_type != _NO_CERTIFICATE

    @property
    def requires(self) -> bool:
        """Whether a client without a certificate is refused."""
        return self.client_auth_type == _REQUIRE


class HttpServer(_Part):
    """What every answer carries."""

    http2: Annotated[bool, PlainValidator(_no_http2)] = False
    headers: Mapping[str, str] = Field(default_factory=dict)


class WebConfig(_Part):
    """Who may see the pages, and how they are served."""

    tls_server_config: TlsServer = Field(default_factory=TlsServer)
    http_server_config: HttpServer = Field(default_factory=HttpServer)
    basic_auth_users: Mapping[str, str] = Field(default_factory=dict, repr=False)
    basic_auth_excluded_paths: tuple[Annotated[str, _one_of(_EXCLUDABLE)], ...] = ()


_SECTIONS: Mapping[Path, type[BaseModel]] = {
    (): WebConfig,
    ("tls_server_config",): TlsServer,
    ("http_server_config",): HttpServer,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """A web configuration, and where in its file each part of it stands."""

    config: WebConfig
    document: Document

    def problem(self, *path: str, message: str) -> Problem:
        """Say what is wrong with a value that looked right in the file."""
        return Problem(line=self.document.line(path), path=show_path(path), message=message)


def parse_web(text: bytes) -> WebFile:
    """Read a web configuration file, which may be empty; raises ConfigError, and nothing else."""
    try:
        document = read(text, may_be_empty=True, longest_text=LONGEST_TEXT)
        return WebFile(config=_load(document), document=document)
    except ConfigError as error:
        raise ConfigError(map(_discreet, error.problems)) from None  # its context would show what it hides


def _load(document: Document) -> WebConfig:
    problems = list(document.problems)
    config = None
    try:
        config = WebConfig.model_validate(document.data)
    except ValidationError as error:
        problems += map(_supported, translate(error, document, _SECTIONS))
    problems += [
        Problem(line=document.line(path), path=show_path(path), message=message)
        for path, message in _cross_check(document.data)
    ]
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _supported(problem: Problem) -> Problem:
    """Tell a key of the format that is not to be had here from one that nobody has."""
    if problem.path != "rate_limit":
        return problem
    return dataclasses.replace(problem, message="is not supported by kms-exporter: leave it out")


def _discreet(problem: Problem) -> Problem:
    """Leave out what the log must not show: a user name is where, and a secret may be what is wrong."""
    message, path = problem.message, problem.path
    if path.startswith("basic_auth_users"):
        message, path = _QUOTED.sub("", message), "basic_auth_users"
    elif path == "tls_server_config.key":
        message = _QUOTED.sub("", message)
    elif not path and message.startswith("is not valid YAML"):  # says what it met, be it half a password
        message = "is not valid YAML"
    return dataclasses.replace(problem, message=message, path=path)


def _cross_check(data: object) -> Iterator[tuple[Path, str]]:
    tls = _mapping(data, "tls_server_config")
    for check in (_certificate, _clients, _versions):
        for key, wrong in check(tls):
            yield ("tls_server_config", key) if key else ("tls_server_config",), wrong
    for name, value in _mapping(_mapping(data, "http_server_config"), "headers").items():
        if message := _wrong_header(name, value):
            yield ("http_server_config", "headers", name), message
    for name, value in _mapping(data, "basic_auth_users").items():
        if message := _wrong_user(name, value):
            yield ("basic_auth_users", name), message


def _mapping(data: object, key: str) -> Mapping[str, Any]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _certificate(tls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("cert", "key", "client_ca"):
        if key in tls and f"{key}_file" in tls:
            yield f"{key}_file", f"cannot be given beside {key}"
        elif tls and key != "client_ca" and not tls.keys() & {key, f"{key}_file"}:
            yield "", f"needs {key}_file or {key}"


def _clients(tls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    policy = _word(tls, "client_auth_type", _NO_CERTIFICATE)
    authorities = tls.keys() & {"client_ca", "client_ca_file"}
    if policy in {_IF_GIVEN, _REQUIRE} and not authorities:
        yield "client_auth_type", "needs client_ca_file or client_ca, to verify against"
    if policy == _NO_CERTIFICATE:
        for key in sorted(authorities):
            yield key, f"is used only with client_auth_type {_REQUIRE} or {_IF_GIVEN}"
    if "client_allowed_sans" in tls and policy in {_NO_CERTIFICATE, _IF_GIVEN}:
        yield "client_allowed_sans", f"needs client_auth_type {_REQUIRE}"


def _versions(tls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    oldest, newest = _word(tls, "min_version", "TLS12"), _word(tls, "max_version", "TLS13")
    if oldest in VERSIONS and newest in VERSIONS:
        if oldest > newest:
            yield "min_version" if "min_version" in tls else "max_version", "min_version is above max_version"
        suites = tls.get("cipher_suites")
        if isinstance(suites, tuple) and suites and newest != "TLS13":
            named = [CIPHERS.get(suite) for suite in suites if isinstance(suite, str) and suite in CIPHERS]
            if len(named) == len(suites) and not any(named):
                yield "cipher_suites", f"names no cipher suite of {newest}"
    curves = tls.get("curve_preferences")
    if isinstance(curves, tuple) and len(curves) > 1:
        yield "curve_preferences", "more than one curve is not supported by kms-exporter"


def _word(data: Mapping[str, Any], key: str, default: str) -> str:
    """Give the text at a key; what is no text is a problem of its own, and nothing is said of it here."""
    value = data.get(key, default)
    return value if isinstance(value, str) else ""


def _wrong_header(name: str, value: object) -> str | None:
    if name not in _HEADERS:
        return f"cannot be set, only {', '.join(_HEADERS)}"
    if not isinstance(value, str) or not value:  # the former is a problem of its own, the latter no header
        return None
    if not (value.isascii() and value.isprintable()):
        return "must be one line of ASCII text"
    if _HEADERS[name] and value not in _HEADERS[name]:
        return f"must be {' or '.join(_HEADERS[name])}, not {show(value)}"
    return None


def _wrong_user(name: str, value: object) -> str | None:
    if not name or ":" in name:
        return "has a user name that is empty or holds a colon"
    if not isinstance(value, str):  # which is a problem of its own
        return None
    match = _BCRYPT.fullmatch(value)
    if match is None:
        return "must be a bcrypt hash, such as `htpasswd -nBC 10 USER` makes"
    if int(match[1]) not in _COSTS:
        return f"must have a bcrypt cost from {_COSTS[0]} to {_COSTS[-1]}"
    return None
