"""Tests of TLS as the web configuration has it: what each bad file is told, and who is let in."""

import contextlib
import os
import re
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest

from exporter.config import ConfigError
from exporter.config.webfile import CIPHERS, parse_web
from exporter.web.serving.setup import load_setup, read_beside
from exporter.web.serving.tls import Tls, make_tls
from tests.certificates import Authority, Pair

CLIENTS = Authority("clients")
SERVER = Authority("servers").issue("localhost")
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL = "  client_ca_file: clients.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
CONTENTS = {
    "": b"",
    "nonsense": b"\xff",
    "a key": SERVER.key,
    "another key": CLIENTS.issue().key,
    "an encrypted key": SERVER.key.replace(b" PRIVATE", b" ENCRYPTED PRIVATE"),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Write a certificate, its key, and an authority for clients."""
    SERVER.write(tmp_path, "server")
    (tmp_path / "clients.crt").write_bytes(CLIENTS.pem)
    return tmp_path


def load(directory: Path, text: str = TLS) -> Tls:
    """Load a configuration that serves TLS."""
    tls = make_tls(parse_web(text.encode()), directory, Path.read_bytes)
    assert tls is not None
    return tls


def shake_hands(
    tls: Tls, pair: Pair | None = None, directory: Path | None = None, **client: Any
) -> ssl.SSLObject:
    """Let a client connect that trusts everybody, and give the server's side of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in client.items():
        if name == "ciphers":
            context.set_ciphers(str(value))
        else:
            setattr(context, name, value)
    if pair is not None and directory is not None:
        pair.write(directory, "client")
        context.load_cert_chain(directory / "client.crt", directory / "client.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = tls.context.wrap_bio(to_server, to_client, server_side=True)
    sides = [context.wrap_bio(to_client, to_server), ours]
    for _ in range(6):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return ours


def test_off(tmp_path: Path) -> None:
    """Without a certificate there is no TLS, and no file is read."""
    assert make_tls(parse_web(b""), tmp_path / "nowhere", Path.read_bytes) is None
    assert load_setup(b"", path=tmp_path / "web.yml", read=Path.read_bytes).tls is None


def test_files_are_beside_the_configuration(directory: Path) -> None:
    """Relative files are found beside the configuration wherever the program runs, others where they are."""
    assert shake_hands(load(directory)).version() == "TLSv1.3"
    absolute = TLS.replace("server.", f"{directory}/server.")
    assert shake_hands(load(Path("/nowhere"), absolute)).version() == "TLSv1.3"


def test_inline(tmp_path: Path) -> None:
    """Certificate, key and authority may stand in the file itself, and then no file is read or written."""
    texts = {"cert": SERVER.certificate, "key": SERVER.key, "client_ca": CLIENTS.pem}
    lines = ["tls_server_config:", "  client_auth_type: RequireAndVerifyClientCert"]
    for key, text in texts.items():
        lines += [f"  {key}: |", *(f"    {line}" for line in text.decode().splitlines())]
    tls = load(tmp_path, "\n".join(lines))
    assert shake_hands(tls, CLIENTS.issue(), tmp_path / ".." / tmp_path.name).getpeercert()
    assert sorted(os.listdir(tmp_path)) == ["client.crt", "client.key"]  # noqa: PTH208 - what the test wrote


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        (
            "server.crt",
            None,
            "line 2: tls_server_config.cert_file: cannot be read: {}: No such file or directory",
        ),
        (
            "server.key",
            None,
            "line 3: tls_server_config.key_file: cannot be read: {}: No such file or directory",
        ),
        (
            "clients.crt",
            None,
            "line 4: tls_server_config.client_ca_file: cannot be read: {}: No such file or directory",
        ),
        ("server.crt", "", "line 2: tls_server_config.cert_file: holds no certificate in PEM form"),
        ("server.crt", "a key", "line 2: tls_server_config.cert_file: holds no certificate in PEM form"),
        ("server.key", "nonsense", "line 3: tls_server_config.key_file: holds no private key in PEM form"),
        (
            "server.key",
            "an encrypted key",
            "line 3: tls_server_config.key_file: is encrypted: there is nobody to type a password",
        ),
        (
            "server.key",
            "another key",
            "line 3: tls_server_config.key_file: does not belong to the certificate",
        ),
        ("clients.crt", "", "line 4: tls_server_config.client_ca_file: holds no certificate in PEM form"),
    ],
)
def test_bad_file(directory: Path, file: str, content: str | None, expected: str) -> None:
    """A file that cannot be used is named, with the line and the key path."""
    path = directory / file
    path.unlink() if content is None else path.write_bytes(CONTENTS[content])
    with pytest.raises(ConfigError) as refused:
        load(directory, TLS + MUTUAL)
    assert list(map(str, refused.value.problems)) == [expected.format(path)]


@pytest.mark.parametrize("file", ["server.crt", "server.key", "clients.crt"])
def test_damaged_file(directory: Path, file: str) -> None:
    """A file with a damaged PEM text is refused under its own name or that of its pair."""
    path = directory / file
    path.write_bytes(re.sub(rb"\n[A-Za-z0-9+/]{20}", b"\nAAAAAAAAAAAAAAAAAAAA", path.read_bytes(), count=1))
    with pytest.raises(ConfigError, match="cannot be used"):
        load(directory, TLS + MUTUAL)


def test_every_problem_is_told(directory: Path) -> None:
    """Files that cannot be read are told all at once."""
    for path in directory.iterdir():
        path.unlink()
    with pytest.raises(ConfigError) as refused:
        load(directory, TLS + MUTUAL)
    assert [problem.line for problem in refused.value.problems] == [2, 3, 4]


def test_no_client_could_connect(directory: Path) -> None:
    """Settings with which no handshake can succeed are refused before a client finds out."""
    text = f"{TLS}  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
    with pytest.raises(ConfigError, match="cert_file: no client can connect with these settings: "):
        load(directory, text)


def test_expired(directory: Path) -> None:
    """A certificate that has expired serves all the same, with a warning; a good one has none."""
    assert load(directory).warnings == ()
    Authority("servers").issue("localhost", expired=True).write(directory, "server")
    (warning,) = load(directory).warnings
    assert warning == "clients may refuse the certificate: certificate has expired"


@pytest.mark.parametrize(
    ("settings", "oldest", "newest"),
    [
        ("", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
        ("  max_version: TLS12\n", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
    ],
)
def test_versions(directory: Path, settings: str, oldest: ssl.TLSVersion, newest: ssl.TLSVersion) -> None:
    """Only the versions between the oldest and the newest are spoken."""
    tls = load(directory, TLS + settings)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        limits: dict[str, Any] = {"minimum_version": version, "maximum_version": version}
        if oldest <= version <= newest:
            assert shake_hands(tls, **limits).version() == version.name.replace("_", ".")
        else:
            with pytest.raises(ssl.SSLError):
                shake_hands(tls, **limits)


def test_old_versions(directory: Path) -> None:
    """TLS 1.1 is spoken where it is asked for, and only there."""
    old = ssl.TLSVersion.TLSv1_1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        limits: dict[str, Any] = {
            "ciphers": "ALL:@SECLEVEL=0",
            "minimum_version": old,
            "maximum_version": old,
        }
        assert shake_hands(load(directory, f"{TLS}  min_version: TLS11\n"), **limits).version() == "TLSv1.1"
        oldest = load(directory, f"{TLS}  min_version: TLS10\n  max_version: TLS11\n")
        assert shake_hands(oldest, **limits).version() == "TLSv1.1"
        with pytest.raises(ssl.SSLError):
            shake_hands(load(directory), **limits)


@pytest.mark.parametrize(("name", "openssl"), [(k, v) for k, v in CIPHERS.items() if v and "ECDSA" in k])
def test_ciphers(directory: Path, name: str, openssl: str) -> None:
    """A cipher suite by its IANA name is the one that is used."""
    tls = load(directory, f"{TLS}  max_version: TLS12\n  cipher_suites: [{name}]\n")
    cipher = shake_hands(tls, ciphers="ALL").cipher()
    assert cipher is not None
    assert cipher[0] == openssl


@pytest.mark.parametrize("prefer", [True, False])
def test_preference(directory: Path, prefer: bool) -> None:  # noqa: FBT001 - one of two settings
    """The order of the server decides, or that of the client, as configured."""
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    text = (
        f"{TLS}  max_version: TLS12\n  cipher_suites: [{', '.join(suites)}]\n"
        f"  prefer_server_cipher_suites: {str(prefer).lower()}\n"
    )
    offered = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    cipher = shake_hands(load(directory, text), ciphers=offered).cipher()
    assert cipher is not None
    assert ("256" in cipher[0].split("-")[2]) is prefer


@pytest.mark.parametrize(
    ("allowed", "is_in"),
    [
        ("prometheus.contoso.com", True),
        ("10.0.0.5", True),
        ("2001:db8::5", True),
        ("mail@contoso.com", True),
        ("spiffe://contoso.com/prometheus", True),
        ("nobody, 10.0.0.5", True),
        ("contoso.com", False),
        ("Prometheus.contoso.com", False),
        ('"*.contoso.com"', False),
        ("issued", False),
    ],
)
def test_allowed_sans(directory: Path, allowed: str, is_in: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """A client certificate is good when one of its names, of whatever kind, is exactly an allowed one."""
    names = ("prometheus.contoso.com", "10.0.0.5", "2001:db8::5", "mail@contoso.com")
    pair = CLIENTS.issue(*names, "spiffe://contoso.com/prometheus")
    tls = load(directory, f"{TLS}{MUTUAL}  client_allowed_sans: [{allowed}]\n")
    assert tls.admits(shake_hands(tls, pair, directory)) is is_in
    assert not tls.admits(shake_hands(tls, CLIENTS.issue(), directory))


def test_client_policies(directory: Path) -> None:
    """A client needs a certificate only where one is required, and a strange one is never good enough."""
    optional = load(directory, TLS + MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    required = load(directory, TLS + MUTUAL)
    strange = Authority("clients").issue()
    assert shake_hands(optional).getpeercert() is None
    with pytest.raises(ssl.SSLError):
        shake_hands(required)
    for tls in (optional, required):
        assert shake_hands(tls, CLIENTS.issue(), directory).getpeercert()
        with pytest.raises(ssl.SSLError):
            shake_hands(tls, strange, directory)


def test_terms(directory: Path) -> None:
    """Another certificate leaves the terms as they are; anything that a client has to meet changes them."""
    before = load(directory, TLS + MUTUAL).terms
    Authority("servers").issue("localhost").write(directory, "server")
    assert load(directory, TLS + MUTUAL).terms == before
    for text in (TLS, f"{TLS}{MUTUAL}  min_version: TLS13\n", f"{TLS}{MUTUAL}  client_allowed_sans: [a]\n"):
        assert load(directory, text).terms != before
    (directory / "clients.crt").write_bytes(Authority("clients").pem)
    assert load(directory, TLS + MUTUAL).terms != before


@pytest.mark.parametrize("file", ["server.crt", "server.key", "clients.crt"])
def test_what_is_beside(directory: Path, file: str) -> None:
    """Each file that the configuration names counts, also when it is gone; a bad configuration names none."""
    path = directory / "web.yml"

    def look(text: str = TLS + MUTUAL) -> bytes:
        return read_beside(text.encode(), path=path, read=Path.read_bytes)

    before = look()
    (directory / file).write_bytes(b"other")
    other = look()
    (directory / file).unlink()
    assert len({before, other, look()}) == 3
    assert look("nonsense: 1\n") == b""
