"""The arguments of the program: its commands, their flags, and what is made of them. Nothing else."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from exporter.build import read_build_info
from exporter.cli import commands
from exporter.logs import LogFormat, LogLevel

DEFAULT_LISTEN_ADDRESS = ":11688"
_LISTEN_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65535


class _Parser(argparse.ArgumentParser):
    """A parser that leaves with the exit status of its command when it cannot use an argument."""

    exit_status: int = commands.CANNOT_START

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.exit_status, f"{self.prog}: error: {message}\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; `command` of the result is what runs, given the result."""
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if "listen_addresses" in options and not options.listen_addresses:
        options.listen_addresses = [_listen_address(DEFAULT_LISTEN_ADDRESS)]
    return options


def _parser() -> _Parser:
    parser = _Parser(
        prog="kms-exporter",
        description="Prometheus exporter that watches Windows KMS hosts from the network.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = subparsers.add_parser(
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
    run.set_defaults(command=commands.run, parser=run)

    _add_check(subparsers)

    demo = subparsers.add_parser(
        "demo",
        help="run the exporter on an embedded lab",
        description="Run the exporter on an embedded lab on loopback, which plays every situation. Needs no "
        "network, no configuration and no privileges.",
        allow_abbrev=False,
    )
    _add_service_flags(demo)
    demo.set_defaults(command=commands.demo, parser=demo)

    check_config = subparsers.add_parser(
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
    check_config.set_defaults(command=commands.check_config, parser=check_config)
    return parser


def _add_check(subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    check = subparsers.add_parser(
        "check",
        help="check zones and hosts once, and say what is wrong",
        description="Look at zones and hosts once, as a Windows client would, and print every step, "
        "the verdict, the error that a client is likely to show, and what to do next. Without a NAME: at all "
        "that is configured; without a configuration file: at the DNS search suffixes of this machine.",
        epilog="Exit status: 0 ok; 1 degraded, or not as the configuration expects; 2 failed; 3 unknown, or "
        "unusable arguments.",
        allow_abbrev=False,
    )
    check.exit_status = commands.UNUSABLE
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
    check.set_defaults(command=commands.check, parser=check)


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
