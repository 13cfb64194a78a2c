"""What each command does with its arguments, and the exit status that it ends with.

Heavy modules are imported by the command that needs them, so that `--version` and `-h` answer at once.
Exit status 2 means that a command could not start, or did not understand its arguments; `check` has statuses
of its own, and 3 for that.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli.signals import leave_on_signals
from exporter.logs import LogFormat, LogLevel, configure_logging

if TYPE_CHECKING:
    from exporter.app import Count, WebSettings
    from exporter.config import Config
    from exporter.reload import Source

    Service = Callable[[WebSettings, Count], Coroutine[Any, Any, None]]

OK, INVALID, BROKEN, CANNOT_START, UNUSABLE = 0, 1, 1, 2, 3


def run(options: argparse.Namespace) -> int:
    """Run the exporter, or only validate its configuration."""
    if options.config_check:
        return check_config(options)
    from exporter.app import serve  # noqa: PLC0415

    return _serve(options, lambda *settings: serve(_source(options.config_file), *settings))


def demo(options: argparse.Namespace) -> int:
    """Run the exporter on the embedded lab."""
    from exporter.app import serve_lab  # noqa: PLC0415

    return _serve(options, serve_lab)


def check(options: argparse.Namespace) -> int:
    """Check once, and print what was found."""
    from exporter import once  # noqa: PLC0415

    configure_logging(level=LogLevel.WARN, form=LogFormat.LOGFMT)
    request = once.Request(
        names=options.names,
        dns_servers=options.dns_servers,
        timeout=options.timeout,
        form=once.Form(options.format),
    )
    anything = options.config_file is None and options.names
    try:
        return once.check(None if anything else _source(options.config_file), request)
    except Exception:
        logging.getLogger(__name__).exception("internal error")
        return UNUSABLE


def check_config(options: argparse.Namespace) -> int:
    """Validate a configuration, and that of the web side if one is named."""
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
        return INVALID
    sys.stdout.write(f"{source.name}: valid, zones: {len(config.zones)}, hosts: {len(config.hosts)}\n")
    return OK


def _check_web(path: Path) -> int:
    from exporter.app import web_source  # noqa: PLC0415
    from exporter.config import ConfigError  # noqa: PLC0415
    from exporter.reload import load_source  # noqa: PLC0415

    try:
        setup = load_source(web_source(path))
    except ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return INVALID
    warnings = setup.tls.warnings if setup.tls else ()
    sys.stderr.writelines(f"{path}: warning: {warning}\n" for warning in warnings)
    tls, users = "on" if setup.tls else "off", len(setup.config.basic_auth_users)
    sys.stdout.write(f"{path}: valid, TLS: {tls}, users: {users}\n")
    return OK


def _serve(options: argparse.Namespace, service: "Service") -> int:
    import structlog  # noqa: PLC0415

    from exporter.app import StartError  # noqa: PLC0415
    from exporter.config import ConfigError  # noqa: PLC0415

    web = _web_settings(options)
    writer = configure_logging(level=options.log_level, form=options.log_format)
    leave_on_signals(writer.close)
    try:
        asyncio.run(service(web, lambda: writer.dropped))
    except ConfigError:
        return CANNOT_START  # every problem of it is in the log by now
    except StartError as error:
        structlog.get_logger(__name__).error("cannot start", reason=str(error))
        return CANNOT_START
    except Exception:  # into the log, which never blocks, unlike what Python does with it
        logging.getLogger(__name__).exception("internal error")
        return BROKEN
    finally:
        leave_on_signals(writer.close)  # the event loop has put back what the system does by default
    return OK


def _web_settings(options: argparse.Namespace) -> "WebSettings":
    from exporter.app import WebSettings  # noqa: PLC0415
    from exporter.web import make_paths  # noqa: PLC0415

    try:
        paths = make_paths(external_url=options.external_url, route_prefix=options.route_prefix)
    except ValueError as error:
        options.parser.error(str(error))
    return WebSettings(addresses=options.listen_addresses, paths=paths, config_file=options.web_config_file)
