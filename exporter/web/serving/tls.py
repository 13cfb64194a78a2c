"""TLS as the web configuration has it: certificates → what OpenSSL serves with, or every problem.

All that can be found out before the first client comes is found out when it is loaded: that the files can be
read, that key and certificate belong together, and, by a rehearsal in memory, that a client can connect.
"""

import contextlib
import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.config import ConfigError, Problem
from exporter.config.webfile import CIPHERS, CURVES, TlsServer, WebFile

_VERSIONS: Mapping[str, ssl.TLSVersion] = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_OLD = frozenset({"TLS10", "TLS11"})
_OLD_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
_OLD_LEVEL = ":@SECLEVEL=0"
"""OpenSSL 3 has the hash functions of TLS 1.0 and 1.1 at this security level only."""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_MOST_FLIGHTS = 8

ReadFile = Callable[[Path], bytes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tls:
    """How TLS is served.

    `terms` are what a client has to meet: a connection may outlive a change of certificate, but no change of
    these. `warnings` are what a client may object to, such as a certificate that has expired.
    """

    context: ssl.SSLContext
    allowed_sans: frozenset[str] | None
    terms: Hashable
    warnings: tuple[str, ...] = ()

    def admits(self, connection: ssl.SSLObject) -> bool:
        """Tell whether the client's certificate bears an allowed name, where that is asked for."""
        return self.allowed_sans is None or bool(self.allowed_sans & set(_names(connection)))


def named_files(tls: TlsServer, directory: Path) -> dict[str, Path]:
    """List the files that a configuration names, by key; relative ones are beside the configuration."""
    named = {key: getattr(tls, key) for key in ("cert_file", "key_file", "client_ca_file")}
    return {key: directory / name for key, name in named.items() if name}


def make_tls(file: WebFile, directory: Path, read: ReadFile) -> Tls | None:
    """Make of a configuration what serves TLS, None where it is off; raises ConfigError with all problems."""
    config = file.config.tls_server_config
    if not config.is_on:
        return None
    wrong = Wrong(file)
    texts = dict(_texts(config, directory, read, wrong))
    _raise(wrong)
    context = _context(config)
    _load_certificate(context, texts, wrong)
    authorities = _load_authorities(context, config, texts, wrong)
    _raise(wrong)
    warnings = _rehearse(context, config, texts["cert"], wrong)
    _raise(wrong)
    if config.verifies:
        context.verify_mode = ssl.CERT_REQUIRED if config.requires else ssl.CERT_OPTIONAL
    sans = config.client_allowed_sans
    return Tls(
        context=context,
        allowed_sans=None if sans is None else frozenset(sans),
        terms=(_terms(config), authorities),
        warnings=warnings,
    )


class Wrong:
    """Collects what is wrong with the values of `tls_server_config`."""

    def __init__(self, file: WebFile) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def note(self, key: str, message: str) -> None:
        """Take note of what is wrong with `key`, or with the file that it names."""
        has_file = getattr(self._file.config.tls_server_config, f"{key}_file", None)
        at = f"{key}_file" if has_file else key
        self.problems.append(self._file.problem("tls_server_config", at, message=message))


def _raise(wrong: Wrong) -> None:
    if wrong.problems:
        raise ConfigError(wrong.problems)


def _texts(config: TlsServer, directory: Path, read: ReadFile, wrong: Wrong) -> Iterator[tuple[str, bytes]]:
    files = named_files(config, directory)
    for key in ("cert", "key", "client_ca"):
        if text := getattr(config, key):
            yield key, text.encode()
        elif path := files.get(f"{key}_file"):
            try:
                yield key, read(path)
            except OSError as error:
                wrong.note(key, f"cannot be read: {path}: {error.strerror or error}")


def _context(config: TlsServer) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    suites = [CIPHERS[name] for name in config.cipher_suites]
    ciphers = ":".join(filter(None, suites))
    oldest = config.min_version
    if suites and not ciphers:  # those of TLS 1.3 alone leave nothing for what is older
        oldest = "TLS13"
    if oldest in _OLD:
        context.set_ciphers((ciphers or _OLD_CIPHERS) + _OLD_LEVEL)
    elif ciphers:
        context.set_ciphers(ciphers)
    context.minimum_version = _VERSIONS[oldest]
    context.maximum_version = _VERSIONS[config.max_version]
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for name in config.curve_preferences:
        context.set_ecdh_curve(CURVES[name])
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_certificate(context: ssl.SSLContext, texts: Mapping[str, bytes], wrong: Wrong) -> None:
    if not _PEM.search(texts["cert"]):
        wrong.note("cert", "holds no certificate in PEM form")
    if b" PRIVATE KEY-----" not in texts["key"]:
        wrong.note("key", "holds no private key in PEM form")
    elif b"ENCRYPTED" in texts["key"]:
        wrong.note("key", "is encrypted: there is nobody to type a password")
    if wrong.problems:
        return
    with _in_memory(texts["cert"]) as certificate, _in_memory(texts["key"]) as key:
        try:
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                wrong.note("key", "does not belong to the certificate")
            else:
                wrong.note("cert", f"cannot be used with its key: {_reason(error)}")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give content a path without a file: OpenSSL reads what was checked, and no key gets on a disk."""
    descriptor = os.memfd_create("pem")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


def _load_authorities(
    context: ssl.SSLContext, config: TlsServer, texts: Mapping[str, bytes], wrong: Wrong
) -> tuple[bytes, ...]:
    if not config.verifies:
        return ()
    found = tuple(_PEM.findall(texts["client_ca"]))
    if not found:
        wrong.note("client_ca", "holds no certificate in PEM form")
        return ()
    try:
        context.load_verify_locations(cadata=_pem(texts["client_ca"]))
    except (ssl.SSLError, ValueError) as error:
        wrong.note("client_ca", f"holds a certificate that cannot be used: {_reason(error)}")
    return found


def _pem(text: bytes) -> str:
    """Take the certificates alone, for there may be anything between them."""
    return "\n".join(each.decode("ascii", "replace") for each in _PEM.findall(text)) + "\n"


def _rehearse(
    context: ssl.SSLContext, config: TlsServer, certificate: bytes, wrong: Wrong
) -> tuple[str, ...]:
    """Let a client connect that trusts this certificate and no other, and say what it objects to."""
    if config.max_version in _OLD:  # which this client would have to be lowered to
        return ()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.set_ciphers("ALL:@SECLEVEL=0")  # whatever the server has
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cadata=_pem(certificate))
        _shake_hands(context, client)
    except ssl.SSLCertVerificationError as error:
        return (f"clients may refuse the certificate: {error.verify_message}",)
    except ssl.SSLError as error:
        wrong.note("cert", f"no client can connect with these settings: {_reason(error)}")
    return ()


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_MOST_FLIGHTS):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()


def _terms(config: TlsServer) -> Hashable:
    what_is_served = {"cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file"}
    return config.model_copy(update=dict.fromkeys(what_is_served)).model_dump_json()


def _names(connection: ssl.SSLObject) -> Iterator[str]:
    """Give every subject alternative name of the client's certificate as Go's crypto/x509 writes it."""
    certificate: Mapping[str, Any] = connection.getpeercert() or {}
    for kind, name in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            with contextlib.suppress(ValueError):
                yield str(ipaddress.ip_address(name))
        elif kind in {"DNS", "email", "URI"}:
            yield name


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)
