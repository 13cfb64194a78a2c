"""The pictures of the pages in the README: the embedded lab as the exporter shows it after a while.

Run by `make screenshots`; decides no test. The window has a fixed size and the lab its usual zones, so two
runs differ in latencies and times of day, and in nothing else.
"""

import sys
import tempfile
from pathlib import Path

from tests.browser import PHONE, Browser
from tests.embedded import embedded_lab
from tests.services import ROOT, Exporter, Lab

DIRECTORY = ROOT / "docs/screenshots"
CHECKS = 30
"""How many checks of a zone there are before the pictures are taken: as many as a page draws."""
PRESENT_SECONDS = 20.0
ZONE, VANISHING = "weighted.kms.test", "vanishing.kms.test"


def main(directory: Path) -> None:
    """Watch the lab for a while, and take the pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        embedded_lab(present_seconds=PRESENT_SECONDS) as configuration,
        Lab(Path(scratch)) as lab,
    ):
        exporter = lab.exporter(configuration)
        wait(exporter)
        with Browser(Path(scratch, "profile")) as browser:
            browser.origin = "http://{}:{}".format(*exporter.web)
            take(browser, directory)


def wait(exporter: Exporter) -> None:
    """Wait until there is something to draw, and a record has vanished."""
    exporter.wait_for(
        lambda seen: (
            (seen.value("kms_srv_lookups_total", dns_zone=ZONE) or 0) >= CHECKS
            and seen.value("kms_srv_record_published", dns_zone=VANISHING) == 0
        ),
        f"{CHECKS} checks",
    )


def take(browser: Browser, directory: Path) -> None:
    """Take all pictures."""
    browser.open("/")
    browser.screenshot(directory / "status-light.png")
    browser.show(scheme="dark")
    browser.screenshot(directory / "status-dark.png")
    browser.show(size=PHONE)
    browser.screenshot(directory / "phone.png")
    browser.show()
    browser.open(f"/zones/{ZONE}")
    browser.screenshot(directory / "zone.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY)
