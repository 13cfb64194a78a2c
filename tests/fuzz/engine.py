"""One target under atheris, in a process of its own: `python -m tests.fuzz.engine TARGET ARGUMENTS`.

Only the exporter's own code is instrumented, so that the fuzzer goes where that leads and not into the
libraries. The arguments are libFuzzer's, https://llvm.org/docs/LibFuzzer.html#options.
"""

import logging
import sys
import warnings

import atheris  # type: ignore[import-untyped]
import structlog


def main() -> None:
    """Feed one target until libFuzzer's arguments say that it is enough, which ends the process."""
    warnings.simplefilter("error", ResourceWarning)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable()  # thousands of bad requests a minute
    with atheris.instrument_imports(include=["exporter"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 (imports are what is instrumented)
    target = TARGETS[sys.argv[1]]
    with target.open() as run:

        def feed(data: bytes) -> None:
            run(data)

        atheris.Setup([sys.argv[0], *sys.argv[2:]], feed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
