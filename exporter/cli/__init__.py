"""The entry of the program: takes the signals before anything that takes time, and has nothing heavy itself.

Whatever is imported here is imported while a signal still does what the system does by default.
"""

import sys
from collections.abc import Sequence

from exporter.cli.signals import INTERRUPTED, leave_on_signals


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and leave with its exit status."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    if _is_service(given):
        leave_on_signals()
    try:
        from exporter.cli.arguments import parse  # noqa: PLC0415 (see above)

        options = parse(given)
        sys.exit(options.command(options))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _is_service(arguments: Sequence[str]) -> bool:
    """Tell whether this is to run until it is told to stop; nothing is parsed yet, so by the looks of it."""
    return arguments[:1] in (["run"], ["demo"]) and "--config.check" not in arguments
