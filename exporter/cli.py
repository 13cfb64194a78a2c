"""The command line: arguments, exit statuses, nothing else.

Heavy modules are imported by the command that needs them, so that `--version` and `-h` answer at once.
Exit status 2 means that a command could not start, or did not understand its arguments; `check` has statuses
of its own, and 3 for that.
"""

import argparse
import asyncio
import logging
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from exporter.build import read_build_info
from exporter.logs import LogFormat, LogLevel, configure_logging

if TYPE_CHECKING:
    from exporter.app import WebSettings
    from exporter.config import Config
    from exporter.reload import Source

DEFAULT_LISTEN_ADDRESS = ":11688"
_LISTEN_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65535
_OK, _INVALID, _CANNOT_START, _UNUSABLE, _INTERRUPTED = 0, 1, 2, 3, 130


class _Parser(argparse.ArgumentParser):
    """A parser that leaves with the exit status of its command when it cannot use an argument."""

    exit_status = _CANNOT_START

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.exit_status, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with its exit status."""
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        sys.exit(options.command(options))
    except KeyboardInterrupt:  # before the service listens to signals
        sys.exit(_INTERRUPTED)


def _parser() -> _Parser:
    parser = _Parser(
        prog="kms-exporter",
        description="Prometheus exporter that watches Windows KMS hosts from the network.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="run the exporter",
        description="Run the exporter. Without a configuration file it watches the DNS search suffixes of "
        "this machine at the DNS servers of this machine.",
        allow_abbrev=False,
    )
    run.add_argument("--config.file", dest="config_file", type=Path, metavar="F", help="configuration file")
    run.add_argument(
        "--config.check",
        dest="config_check",
        action="store_true",
        help="only validate the configuration, and that of --web.config.file; exit status 0 or 1",
    )
    _add_service_flags(run)
    run.set_defaults(command=_run, parser=run)

    _add_check(commands)

    demo = commands.add_parser(
        "demo",
        help="run the exporter on an embedded lab",
        description="Run the exporter on an embedded lab on loopback, which plays every situation. Needs no "
        "network, no configuration and no privileges.",
        allow_abbrev=False,
    )
    _add_service_flags(demo)
    demo.set_defaults(command=_demo, parser=demo)

    check_config = commands.add_parser(
        "check-config",
        help="validate a configuration file",
        description="Validate a configuration file; every problem is shown with its line and key path. Exit "
        "status 0 when it is valid, 1 when not.",
        allow_abbrev=False,
    )
    _add_web_config_flag(
        check_config, "web configuration file to validate as well, and the files that it names"
    )
    check_config.add_argument("config_file", type=Path, metavar="F", help="configuration file")
    check_config.set_defaults(command=_check_config, parser=check_config)
    return parser


def _add_check(commands: "argparse._SubParsersAction[_Parser]") -> None:
    check = commands.add_parser(
        "check",
        help="check zones and hosts once, and say what is wrong",
        description="Look at zones and hosts once, as a Windows client would, and print every step, "
        "the verdict, the error that a client is likely to show, and what to do next. Without a NAME: at all "
        "that is configured; without a configuration file: at the DNS search suffixes of this machine.",
        epilog="Exit status: 0 ok; 1 degraded, or not as the configuration expects; 2 failed; 3 unknown, or "
        "unusable arguments.",
        allow_abbrev=False,
    )
    check.exit_status = _UNUSABLE
    check.add_argument("--config.file", dest="config_file", type=Path, metavar="F", help="configuration file")
    check.add_argument(
        "--dns.server",
        dest="dns_servers",
        action="append",
        default=[],
        metavar="S",
        help="DNS server to ask in place of those configured: an address with an optional port, system or "
        "authoritative; repeat for several",
    )
    check.add_argument(
        "--timeout",
        metavar="DURATION",
        help="time for each single step, such as 2s, in place of the one configured (default 5s)",
    )
    check.add_argument(
        "--format",
        choices=("text", "json", "nagios"),
        default="text",
        help="text for people, json for scripts, nagios for one line with performance data (default text)",
    )
    check.add_argument("names", nargs="*", metavar="NAME", help="zone, or host:port of a KMS host")
    check.set_defaults(command=_check, parser=check)


def _add_web_config_flag(parser: argparse.ArgumentParser, purpose: str) -> None:
    parser.add_argument("--web.config.file", dest="web_config_file", type=Path, metavar="W", help=purpose)


def _add_service_flags(parser: argparse.ArgumentParser) -> None:
    _add_web_config_flag(
        parser, "web configuration file, in the format of Prometheus' exporter-toolkit: TLS, users, headers"
    )
    parser.add_argument(
        "--web.listen-address",
        dest="listen_addresses",
        action="append",
        type=_listen_address,
        metavar="HOST:PORT",
        help=f"address to serve HTTP on; repeat for several (default {DEFAULT_LISTEN_ADDRESS})",
    )
    parser.add_argument(
        "--web.external-url",
        dest="external_url",
        metavar="URL",
        help="URL under which browsers reach the exporter, where a reverse proxy is in between: its path "
        "goes in front of every link",
    )
    parser.add_argument(
        "--web.route-prefix",
        dest="route_prefix",
        metavar="PATH",
        help="path in front of every page as requests get here (default: the path of --web.external-url; / "
        "where the proxy takes it away)",
    )
    parser.add_argument(
        "--log.level",
        dest="log_level",
        type=LogLevel,
        choices=list(LogLevel),
        default=LogLevel.INFO,
        help="least important lines that are logged (default info)",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        type=LogFormat,
        choices=list(LogFormat),
        default=LogFormat.LOGFMT,
        help="form of the log lines (default logfmt)",
    )


def _listen_address(text: str) -> tuple[str, int]:
    match = _LISTEN_ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, :PORT or [IPV6]:PORT")
    return match["ipv6"] or match["host"] or "", int(match["port"])


def _version() -> str:
    build = read_build_info()
    return f"kms-exporter, version {build.version} (revision: {build.revision}, Python {build.python})"


def _run(options: argparse.Namespace) -> int:
    if options.config_check:
        return _check_config(options)
    from exporter.app import serve  # noqa: PLC0415

    return _serve(options, lambda web: serve(_source(options.config_file), web))


def _demo(options: argparse.Namespace) -> int:
    from exporter.app import serve_lab  # noqa: PLC0415

    return _serve(options, serve_lab)


def _check(options: argparse.Namespace) -> int:
    from exporter.once import Form, Request, check  # noqa: PLC0415

    configure_logging(level=LogLevel.WARN, form=LogFormat.LOGFMT)
    request = Request(
        names=options.names,
        dns_servers=options.dns_servers,
        timeout=options.timeout,
        form=Form(options.format),
    )
    anything = options.config_file is None and options.names
    try:
        return check(None if anything else _source(options.config_file), request)
    except Exception:
        logging.getLogger(__name__).exception("internal error")
        return _UNUSABLE


def _check_config(options: argparse.Namespace) -> int:
    status = _check_source(_source(options.config_file))
    return status if options.web_config_file is None else max(status, _check_web(options.web_config_file))


def _source(path: Path | None) -> "Source[Config]":
    from exporter.reload import file_source, system_source  # noqa: PLC0415

    if path is None:
        return system_source()
    return file_source(path)


def _check_source(source: "Source[Config]") -> int:
    from exporter.config import ConfigError  # noqa: PLC0415
    from exporter.reload import load_source  # noqa: PLC0415

    try:
        config = load_source(source)
    except ConfigError as error:
        sys.stderr.writelines(f"{source.name}: {problem}\n" for problem in error.problems)
        return _INVALID
    sys.stdout.write(f"{source.name}: valid, zones: {len(config.zones)}, hosts: {len(config.hosts)}\n")
    return _OK


def _check_web(path: Path) -> int:
    from exporter.app import web_source  # noqa: PLC0415
    from exporter.config import ConfigError  # noqa: PLC0415
    from exporter.reload import load_source  # noqa: PLC0415

    try:
        setup = load_source(web_source(path))
    except ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return _INVALID
    warnings = setup.tls.warnings if setup.tls else ()
    sys.stderr.writelines(f"{path}: warning: {warning}\n" for warning in warnings)
    tls, users = "on" if setup.tls else "off", len(setup.config.basic_auth_users)
    sys.stdout.write(f"{path}: valid, TLS: {tls}, users: {users}\n")
    return _OK


def _serve(options: argparse.Namespace, service: Callable[["WebSettings"], Coroutine[Any, Any, None]]) -> int:
    import structlog  # noqa: PLC0415

    from exporter.app import StartError  # noqa: PLC0415
    from exporter.config import ConfigError  # noqa: PLC0415

    web = _web_settings(options)
    configure_logging(level=options.log_level, form=options.log_format)
    try:
        asyncio.run(service(web))
    except ConfigError:
        return _CANNOT_START  # every problem of it is in the log by now
    except StartError as error:
        structlog.get_logger(__name__).error("cannot start", reason=str(error))
        return _CANNOT_START
    return _OK


def _web_settings(options: argparse.Namespace) -> "WebSettings":
    from exporter.app import WebSettings  # noqa: PLC0415
    from exporter.web import make_paths  # noqa: PLC0415

    try:
        paths = make_paths(external_url=options.external_url, route_prefix=options.route_prefix)
    except ValueError as error:
        options.parser.error(str(error))
    addresses = options.listen_addresses or [_listen_address(DEFAULT_LISTEN_ADDRESS)]
    return WebSettings(addresses=addresses, paths=paths, config_file=options.web_config_file)
