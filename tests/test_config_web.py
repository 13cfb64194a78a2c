"""Tests of the web configuration file: what each bad one is told, and that none of it shows a secret."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import ConfigError
from exporter.config.webfile import CIPHERS, CURVES, WebConfig, parse_web
from tests.services import ROOT

HASH = "$2b$04$eTx1JvNmtAlq2pxpppZ.heO9IXDTmwpPY.Kf4mfJir2M1q37/IJjG"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


def problems(text: str) -> list[str]:
    """Tell all that is wrong with a file."""
    with pytest.raises(ConfigError) as refused:
        parse_web(text.encode())
    return list(map(str, refused.value.problems))


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "---\n", "tls_server_config: {}\n"])
def test_empty(text: str) -> None:
    """An empty file is one without TLS, users and headers."""
    config = parse_web(text.encode()).config
    assert config == WebConfig()
    assert not config.tls_server_config.is_on


def test_defaults_of_tls() -> None:
    """What is not said is as in the exporter-toolkit."""
    tls = parse_web(TLS.encode()).config.tls_server_config
    assert tls.is_on
    assert (tls.min_version, tls.max_version, tls.client_auth_type) == ("TLS12", "TLS13", "NoClientCert")
    assert tls.prefer_server_cipher_suites
    assert not tls.verifies


@pytest.mark.parametrize(
    "more",
    [
        f"  cipher_suites: [{', '.join(CIPHERS)}]\n",
        *(f"  curve_preferences: [{curve}]\n" for curve in CURVES),
        "  min_version: TLS10\n  max_version: TLS11\n",
        (
            "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
            "  client_allowed_sans: [prometheus.contoso.com, 10.0.0.5]\n"
        ),
        "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: |\n    text\n",
        "http_server_config: {http2: false, headers: {X-Frame-Options: sameorigin, X-XSS-Protection: ''}}\n",
        f"basic_auth_users: {{alice: {HASH}}}\nbasic_auth_excluded_paths: [/-/healthy, /-/ready]\n",
        f"basic_auth_users: {{alice: {HASH.replace('$2b$', '$2y$')}}}\n",
    ],
)
def test_good(more: str) -> None:
    """What the format has is accepted."""
    assert parse_web((TLS + more).encode()).config.tls_server_config.is_on


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls: {}\n", ["line 1: tls: unknown key"]),
        (
            "tls_server_confg: {}\n",
            ["line 1: tls_server_confg: unknown key, did you mean tls_server_config?"],
        ),
        (
            f"{TLS}  cert_fil: x\n",
            ["line 4: tls_server_config.cert_fil: unknown key, did you mean cert_file?"],
        ),
        (
            "rate_limit:\n  interval: 1s\n  burst: 2\n",
            ["line 1: rate_limit: is not supported by kms-exporter: leave it out"],
        ),
        (
            "http_server_config:\n  http2: true\n",
            [
                (
                    "line 2: http_server_config.http2: true is not supported by kms-exporter, which speaks"
                    " HTTP/1.1: leave it out"
                )
            ],
        ),
        ("http_server_config:\n  http2: 1\n", ["line 2: http_server_config.http2: must be true or false"]),
        (
            "tls_server_config:\n  min_version: TLS12\n",
            [
                "line 1: tls_server_config: needs cert_file or cert",
                "line 1: tls_server_config: needs key_file or key",
            ],
        ),
        ("tls_server_config: []\n", ["line 1: tls_server_config: must be a mapping"]),
        (
            "tls_server_config:\n  cert_file: ''\n  key_file: k\n",
            ["line 2: tls_server_config.cert_file: must not be empty"],
        ),
        (
            f"{TLS}  cert: x\n  key: y\n",
            [
                "line 2: tls_server_config.cert_file: cannot be given beside cert",
                "line 3: tls_server_config.key_file: cannot be given beside key",
            ],
        ),
        (
            f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n",
            [
                (
                    "line 4: tls_server_config.client_auth_type: needs client_ca_file or client_ca,"
                    " to verify against"
                )
            ],
        ),
        (
            f"{TLS}  client_auth_type: RequireAnyClientCert\n",
            [
                (
                    "line 4: tls_server_config.client_auth_type: RequireAnyClientCert is not supported by"
                    " kms-exporter: a certificate that is not verified proves nothing; take"
                    " RequireAndVerifyClientCert"
                )
            ],
        ),
        (
            f"{TLS}  client_auth_type: Always\n",
            [
                (
                    "line 4: tls_server_config.client_auth_type: must be one of NoClientCert,"
                    " VerifyClientCertIfGiven, RequireAndVerifyClientCert"
                )
            ],
        ),
        (
            f"{TLS}  client_ca_file: ca.crt\n",
            [
                (
                    "line 4: tls_server_config.client_ca_file: is used only with client_auth_type"
                    " RequireAndVerifyClientCert or VerifyClientCertIfGiven"
                )
            ],
        ),
        (
            f"{TLS}  client_ca: a\n  client_auth_type: VerifyClientCertIfGiven\n  client_allowed_sans: [a]\n",
            [
                (
                    "line 6: tls_server_config.client_allowed_sans: needs client_auth_type"
                    " RequireAndVerifyClientCert"
                )
            ],
        ),
        (
            (
                f"{TLS}  client_ca_file: a\n  client_auth_type: RequireAndVerifyClientCert\n"
                "  client_allowed_sans: []\n"
            ),
            ["line 6: tls_server_config.client_allowed_sans: must not be empty"],
        ),
        (
            f"{TLS}  min_version: TLS13\n  max_version: TLS12\n",
            ["line 4: tls_server_config.min_version: min_version is above max_version"],
        ),
        (
            f"{TLS}  min_version: SSL30\n",
            ["line 4: tls_server_config.min_version: must be one of TLS10, TLS11, TLS12, TLS13"],
        ),
        (
            f"{TLS}  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            ["line 5: tls_server_config.cipher_suites: names no cipher suite of TLS12"],
        ),
        (
            f"{TLS}  curve_preferences: [X25519, CurveP256]\n",
            [
                (
                    "line 4: tls_server_config.curve_preferences: more than one curve is not supported by"
                    " kms-exporter"
                )
            ],
        ),
        (
            f"{TLS}  prefer_server_cipher_suites: maybe\n",
            ["line 4: tls_server_config.prefer_server_cipher_suites: must be true or false"],
        ),
        (
            (
                "http_server_config:\n  headers:\n    Server: x\n    X-Frame-Options: allow\n"
                '    Content-Security-Policy: "a\\nb"\n'
            ),
            [
                (
                    "line 3: http_server_config.headers.Server: cannot be set, only Content-Security-Policy,"
                    " Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"
                ),
                "line 4: http_server_config.headers.X-Frame-Options: must be deny or sameorigin, not 'allow'",
                "line 5: http_server_config.headers.Content-Security-Policy: must be one line of ASCII text",
            ],
        ),
        (
            f"basic_auth_users:\n  alice: secret\n  bob: {HASH.replace('$04$', '$31$')}\n  'a:b': {HASH}\n",
            [
                "line 2: basic_auth_users: must be a bcrypt hash, such as `htpasswd -nBC 10 USER` makes",
                "line 3: basic_auth_users: must have a bcrypt cost from 4 to 18",
                "line 4: basic_auth_users: has a user name that is empty or holds a colon",
            ],
        ),
        ("basic_auth_users:\n  alice: 1\n", ["line 2: basic_auth_users: must be text: put it in quotes"]),
        (
            f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n",
            ["line 3: basic_auth_users: is given twice, first on line 2"],
        ),
        (
            "basic_auth_excluded_paths: [/metrics]\n",
            ["line 1: basic_auth_excluded_paths[0]: must be one of /-/healthy, /-/ready"],
        ),
        ("- 1\n", ["must be a mapping"]),
    ],
)
def test_bad(text: str, expected: list[str]) -> None:
    """Every problem is told with its line and key path, keys of the format that are not to be had by name."""
    assert problems(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users:\n  alice: *hunter2\n",
        "basic_auth_users:\n  alice: !hunter2 x\n",
        "basic_auth_users:\n  alice: 'hunter2\n",
        "basic_auth_users:\n  alice: 2001-99-99 # hunter2\n",
        "basic_auth_users:\n  alice: hunter2\n",
        'basic_auth_users:\n  "alice\\x01": hunter2\n',
        "basic_auth_users:\n  alice: {hunter2: x}\n",
        "basic_auth_users:\n  - alice: hunter2\n",
        "basic_auth_users: alice hunter2\n",
        "tls_server_config:\n  cert: c\n  key: !hunter2 alice\n",
        "tls_server_config:\n  cert: c\n  key: {hunter2: alice}\n",
    ],
)
def test_problems_are_discreet(text: str) -> None:
    """No problem shows a user name, a password or a key, for problems are logged."""
    told = "\n".join(problems(text))
    assert told
    assert not re.search("alice|hunter2|2001-99", told)


WORDS = st.sampled_from(
    [
        *WebConfig.model_fields,
        *type(WebConfig().tls_server_config).model_fields,
        "headers",
        "http2",
        "TLS12",
        "TLS13",
        "NoClientCert",
        HASH,
    ]
)
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_anything(value: object) -> None:
    """Whatever the file holds, the outcome is a configuration or a list of problems."""
    try:
        parse_web(json.dumps(value).encode())
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either outcome is fine


def test_sample() -> None:
    """The sample is valid as it is, and so is every line of it that is commented out."""
    text = (ROOT / "deploy/web.yml").read_text()
    assert parse_web(text.encode()).config.basic_auth_users
    keys = set(re.findall(r"(?m)^ *(?:# )?([a-z_0-9]+):", text))
    own = set(WebConfig.model_fields) | set(type(WebConfig().tls_server_config).model_fields)
    assert own - keys == set()
