"""Chromium for the tests: headless, with a profile of its own, and told what to do through chromedriver.

This module starts it, looks, and stops it; it asserts nothing about a page. It reaches nothing but
127.0.0.1: no other name resolves. What a page did meanwhile can be asked for: what it requested, and what
went wrong in it.

Chromium's own commands are those of the Chrome DevTools Protocol, https://chromedevtools.github.io/devtools-protocol/.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any, Literal

from selenium import webdriver
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.services import LOOPBACK, Process, need, need_axe, wait_until, which

DESK = (1280, 900)
"""Width and height of a window on a desk, in CSS pixels."""
PHONE = (360, 740)
Scheme = Literal["light", "dark"]

_QUIET = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {LOOPBACK}",
    "--remote-debugging-pipe",  # Chromium ends with the driver that holds the other end, however that ends
)
_START_EMPTY = {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]}
NEVER_SECONDS = 3600.0
_REFRESH = """
document.addEventListener("readystatechange", () => {
    for (const each of document.querySelectorAll("[data-refresh-seconds]"))
        each.dataset.refreshSeconds = "%s";
}, {once: true});
"""
"""Runs when all of a page is there and before its own deferred script does (HTML, 13.2.7, the end)."""
_WATCH = """
window.refusals = [];
document.addEventListener("securitypolicyviolation", event =>
    window.refusals.push(`${event.effectiveDirective} refused ${event.blockedURI || event.sample}`));
"""
_RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
    found => done(found.violations.flatMap(rule => rule.nodes.map(
        node => `${rule.id} (${rule.impact}) at ${node.target.join(" ")}: ${node.failureSummary}`))),
    error => done([String(error)]));
"""


class Browser(Process):
    """One window of Chromium, whose paths are relative to `origin`, as `http://127.0.0.1:11688`.

    `asked` are the URLs that its pages asked for, as far as `requested` has listed them.
    """

    def __init__(self, profile: Path) -> None:
        need("chromium", "chromedriver")
        self.origin = ""
        self.asked: list[str] = []
        super().__init__([which("chromedriver") or "", "--port=0"])
        port = self.wait_until(self._driver_port, "chromedriver listens")
        try:
            self.driver = webdriver.Remote(
                ChromeRemoteConnection(f"http://{LOOPBACK}:{port}"), options=_options(profile)
            )
        except BaseException:
            self.kill()
            raise
        self.cdp("Page.enable")
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        self._refresh = ""
        self.show()

    def _driver_port(self) -> int | None:
        found = (re.search(r"started successfully on port (\d+)", line) for line in list(self.lines))
        return next((int(match[1]) for match in found if match), None)

    def __exit__(self, *exception: object) -> None:
        """Close the window, and stop the driver."""
        try:
            self.driver.quit()
        finally:
            self.kill()

    # What a person does

    def open(self, path: str) -> None:
        """Go to a page, and be back when it is loaded."""
        self.driver.get(self.origin + path)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def show(
        self,
        *,
        size: tuple[int, int] = DESK,
        scheme: Scheme = "light",
        scripts: bool = True,
    ) -> None:
        """Take a window of this size, a colour scheme, and scripts or none, until told otherwise."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.cdp("Emulation.setDeviceMetricsOverride", **metrics)
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        self.cdp(
            "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in features.items()],
        )
        self.cdp("Emulation.setScriptExecutionDisabled", value=not scripts)

    def refresh_every(self, seconds: float) -> None:
        """Have the pages that are opened from now on refresh themselves so often, whatever they say."""
        if self._refresh:
            self.cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=self._refresh)
        added = self.cdp("Page.addScriptToEvaluateOnNewDocument", source=_REFRESH % seconds)
        self._refresh = added["identifier"]

    # What is to be seen

    @property
    def path(self) -> str:
        """Where the window is: path, query and fragment."""
        return self.driver.current_url.removeprefix(self.origin)

    def all(self, selector: str) -> list[WebElement]:
        """Find the elements that a CSS selector selects."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Find the one element that a CSS selector selects."""
        found = self.all(selector)
        assert len(found) == 1, f"{len(found)} elements are {selector}"
        return found[0]

    def js(self, expression: str, *arguments: object) -> Any:
        """Evaluate an expression of JavaScript, with `arguments`."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def wait_for(self, expression: str, *arguments: object) -> Any:
        """Evaluate an expression of JavaScript until it is true, and return what it is then."""
        return wait_until(lambda: self.js(expression, *arguments) or None, f"{expression} {arguments}")

    def screenshot(self, path: Path) -> None:
        """Write what the window shows into a PNG file."""
        shot = self.cdp("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        path.write_bytes(base64.b64decode(shot["data"]))

    # What went on

    def violations(self) -> list[str]:
        """List what axe-core, with all of its rules, finds wrong with the page as it is shown."""
        if not self.js("'axe' in window"):
            self.cdp("Runtime.evaluate", expression=need_axe().read_text())
        found: list[str] = self.driver.execute_async_script(_RUN_AXE)
        return found

    def complaints(self) -> list[str]:
        """List what the console was told since the last time, and what this page's policy refused."""
        console = [entry["message"] for entry in self._log("browser")]
        return console + list(self.js("window.refusals") or ())

    def requested(self) -> list[str]:
        """List the URLs that pages asked for since the last time, the pages themselves included."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        self.asked += urls
        return urls

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": kind})["value"]
        return entries

    def cdp(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Send Chromium one of its own commands."""
        answer: dict[str, Any] = self.driver.execute(
            "executeCdpCommand", {"cmd": command, "params": parameters}
        )["value"]
        return answer


def _options(profile: Path) -> webdriver.ChromeOptions:
    options = webdriver.ChromeOptions()
    options.binary_location = which("chromium") or ""
    for argument in (*_QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", _START_EMPTY)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return options
