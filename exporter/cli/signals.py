"""What a signal does to a service that does not listen to it yet, or no longer.

From the first line of ours until the event loop takes over, which is the better part of a second. Before,
while the interpreter starts, the system's default holds: nobody could change it.
"""

import os
import signal
from collections.abc import Callable

INTERRUPTED = 130
_STOPPED = 0


def leave_on_signals(last_words: Callable[[], object] = lambda: None) -> None:
    """End at once on SIGTERM, with exit status 0, and on SIGINT, with 130; `last_words` come before.

    Not by an exception: it would come up in the midst of an import, and be reported there or be lost. SIGHUP
    asks for the configuration to be loaded again, and it has yet to be loaded.
    """

    def leave(number: int, _frame: object) -> None:
        last_words()
        os._exit(_STOPPED if number == signal.SIGTERM else INTERRUPTED)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
