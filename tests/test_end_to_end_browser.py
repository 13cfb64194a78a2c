"""The pages in a real Chromium: what a person sees, finds and reaches, with scripts and without.

The embedded lab is what is looked at, since it plays every situation; a BIND of its own is what changes or
means harm. After each test the console is empty, the page's policy has refused nothing, and nothing but the
exporter was asked for anything.
"""

import re
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from exporter.demo.situations import situations
from exporter.demo.zones import Schedule
from tests.browser import DESK, NEVER_SECONDS, PHONE, Browser, Scheme
from tests.embedded import OFTEN, embedded_lab
from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    Named,
    config,
    need_axe,
    srv,
    wait_until,
    zone,
    zone_file,
)

WATCHED = [
    situation.zone
    for situation in situations(port=1688, schedule=Schedule(present_seconds=1, absent_seconds=1))
    if situation.watched
]
OFTEN_SECONDS = 0.5
URGENCY = ["failed", "unknown", "degraded", "unchecked", "ok"]
BOTH_VIEWS = pytest.mark.parametrize(
    ("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["light desk", "dark phone"]
)
SYMBOLS = "\N{BALLOT X}?!\N{CHECK MARK}\N{EN DASH}"
SITES = [f"site{number:02}.test" for number in range(1, 46)]
HOSTILE_LABELS = [
    r"\<img\032src=x\032onerror=pwned=1\>",
    r"\"\>\<script\>pwned=2\</script\>",
    r"\'\032onfocus=pwned=3\032autofocus\032x=\'",
    r"\{\{pwned\}\}\{%\032x\032%\}",
    r"\226\128\174\215\144\215\145\215\146",  # a right-to-left override, and Hebrew
    "x" * 63,
]
"""Labels of names in a zone file, escaped as RFC 1035, 5.1, has it."""
HOSTILE_TEXT = "<img src=x onerror=pwned=4>\"' \N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}{{ pwned }}"
HOSTILE_VALUE = f"\N{RIGHT-TO-LEFT OVERRIDE}{HOSTILE_TEXT}\n</script></main>"


# --- What is looked at


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one browser for all tests."""
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Hand out the browser as it is at first, and find afterwards that nothing went wrong in it."""
    chromium.show()
    chromium.refresh_every(NEVER_SECONDS)
    chromium.asked.clear()
    yield chromium
    complaints = chromium.complaints()
    chromium.requested()
    chromium.driver.get("about:blank")  # what is open asks for nothing any more
    assert complaints == []
    assert chromium.asked
    assert [url for url in chromium.asked if not url.startswith(f"{chromium.origin}/")] == []


@pytest.fixture(scope="module")
def lab_exporter(module_lab: Lab) -> Exporter:
    """Watch the embedded lab until everything in it was checked once."""
    exporter = module_lab.exporter(module_lab.enter_context(embedded_lab()))
    wait_until_checked(exporter)
    return exporter


@pytest.fixture
def page(browser: Browser, lab_exporter: Exporter) -> Browser:
    """Look at the embedded lab."""
    return at(browser, lab_exporter)


def at(browser: Browser, exporter: Exporter) -> Browser:
    """Have the browser look at this exporter."""
    browser.origin = "http://{}:{}".format(*exporter.web)
    return browser


def wait_until_checked(exporter: Exporter) -> None:
    """Wait until its status page has something to say of everything."""
    exporter.wait_until(lambda: "not checked yet" not in exporter.get("/").text or None, "all is checked")


def names(browser: Browser) -> list[str]:
    """List the zones of the page that are shown, from top to bottom."""
    shown: list[str] = browser.js(
        """[...document.querySelectorAll('#zones .card')]
            .filter(card => card.checkVisibility())
            .map(card => card.querySelector('h3').textContent.trim())"""
    )
    return shown


def card(browser: Browser, name: str) -> WebElement:
    """Find the card of a zone."""
    return browser.one(f'[id="zone-{name}"]')


def unfold(browser: Browser, element: WebElement) -> WebElement:
    """Click at the summary of the details in an element, and return them once they hold something."""
    details = element.find_element(By.CSS_SELECTOR, "details")
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", details)
    details.find_element(By.CSS_SELECTOR, "summary").click()
    browser.wait_for("arguments[0].open && arguments[0].querySelector('.detail').children.length", details)
    return details


def unfold_all(browser: Browser, selector: str = "main details") -> None:
    """Unfold all details at once."""
    unfolded = browser.js(
        "[...document.querySelectorAll(arguments[0])].map(each => each.open = true).length", selector
    )
    assert unfolded > 0


# --- At first sight


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_first_paint(page: Browser, *, scripts: bool) -> None:
    """The page that arrives says how things stand in one sentence, and has every zone, trouble first."""
    page.show(scripts=scripts)
    page.open("/")
    failed = r"\d+ of " + f"{len(WATCHED)} zones have trouble"
    assert re.search(failed, page.one("h1").text)
    assert sorted(names(page)) == sorted(WATCHED)
    tones = [next(tone for tone in URGENCY if tone in classes(each)) for each in page.all("#zones .card")]
    assert tones == sorted(tones, key=URGENCY.index)
    assert {"failed", "ok"} <= set(tones)


def test_verdict_is_more_than_a_colour(page: Browser) -> None:
    """A verdict is a word with a symbol, and what Windows would say is never more than likely."""
    page.open("/")
    marks = [each.text.split() for each in page.all("#zones .row .verdict")]
    assert marks
    assert all(len(mark) == 2 and mark[0] in SYMBOLS for mark in marks), marks
    closed = card(page, "closed.kms.test").text
    assert re.search(r"✗ \w+", closed)
    assert re.search(r"likely 0x[0-9A-F]{8}", closed)


def test_colours_follow_the_system(page: Browser) -> None:
    """A dark scheme gives a dark page with light text."""
    page.open("/")
    paper, ink = brightness(page, "backgroundColor"), brightness(page, "color")
    assert paper > 200
    assert ink < 100
    page.show(scheme="dark")
    paper, ink = brightness(page, "backgroundColor"), brightness(page, "color")
    assert paper < 100
    assert ink > 200


@pytest.mark.parametrize("path", ["/", "/?q=large", "/zones/disagreeing.kms.test"])
def test_phone(page: Browser, path: str) -> None:
    """On a screen of 360 pixels nothing is wider than the screen, not even when all is unfolded."""
    page.show(size=PHONE)
    page.open(path)
    unfold_all(page)
    width = page.js("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1] == PHONE[0]


# --- Unfold


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_unfold(page: Browser, *, scripts: bool) -> None:
    """A zone unfolds to its ladder, its records and its hosts, each with a drawing of the last probes."""
    page.show(scripts=scripts)
    page.open("/")
    assert [each for each in page.all("#zones .ladder") if each.is_displayed()] == []
    details = unfold(page, card(page, "weighted.kms.test"))
    assert details.find_element(By.CSS_SELECTOR, ".ladder").is_displayed()
    shown = details.text
    assert [name for name in ("kms1", "kms2", "backup") if f"{name}.weighted.kms.test" not in shown] == []
    assert "connection_refused" in shown
    assert details.find_element(By.CSS_SELECTOR, "svg path").is_displayed()


def test_keyboard(page: Browser) -> None:
    """The tabulator key leads to a link past the head, to the search, and to zones, which Enter unfolds."""
    page.open("/")
    page.press(Keys.TAB)
    skip = page.driver.switch_to.active_element
    assert "Skip" in skip.text
    assert page.js("arguments[0].getBoundingClientRect().top >= 0", skip)
    page.press(Keys.ENTER)
    reached = list[str]()
    while "SUMMARY" not in reached:
        page.press(Keys.TAB)
        assert page.js("document.activeElement.matches(':focus-visible')")
        reached.append(page.js("document.activeElement.id || document.activeElement.tagName"))
        assert len(reached) < 40, reached
    assert reached[0] == "q"
    details = page.driver.switch_to.active_element.find_element(By.XPATH, "..")
    page.press(Keys.ENTER)
    assert page.js("arguments[0].open", details)
    assert details.find_element(By.CSS_SELECTOR, ".ladder").is_displayed()


def test_zone_page_shows_what_was_done(page: Browser) -> None:
    """The page of a zone lists its last checks, and each unfolds to every step with what came of it."""
    page.open("/")
    card(page, "degraded.kms.test").find_element(By.LINK_TEXT, "degraded.kms.test").click()
    assert page.path == "/zones/degraded.kms.test"
    assert "degraded.kms.test" in page.one("h1").text
    trace = unfold(page, page.one("#past li:first-child")).find_element(By.CSS_SELECTOR, "table").text
    assert "SRV _vlmcs._tcp.degraded.kms.test" in trace
    assert "connection_refused" in trace


# --- Find


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_search_by_form(page: Browser, *, scripts: bool) -> None:
    """What is typed and sent narrows the page to the zones that have it, and stands in the URL."""
    page.show(scripts=scripts)
    page.open("/")
    page.one("#q").send_keys("DESKTOP-4F7K2Q9", Keys.ENTER)
    wait_until(lambda: names(page) == ["rogue.kms.test"] or None, "only that zone is shown")
    assert page.path == "/?q=DESKTOP-4F7K2Q9"
    assert page.one("#q").get_attribute("value") == "DESKTOP-4F7K2Q9"


def test_search_while_typing(page: Browser) -> None:
    """What is typed narrows the page without being sent, and the focus and the cursor stay where they are."""
    page.open("/")
    page.driver.execute_script("window.same = true")
    page.one("#q").send_keys("weighted", Keys.ARROW_LEFT)
    wait_until(lambda: names(page) == ["weighted.kms.test"] or None, "only that zone is shown")
    assert page.path == "/?q=weighted"
    assert page.js("window.same && document.activeElement.id") == "q"
    assert page.js("document.activeElement.selectionStart") == len("weighted") - 1
    page.one("#q").send_keys(Keys.END, Keys.BACKSPACE * len("weighted"))
    wait_until(lambda: len(names(page)) == len(WATCHED) or None, "all zones are shown again")
    assert page.path == "/"


def test_filter_by_verdict(page: Browser) -> None:
    """A count of a verdict leads to the zones that have it, and keeps what is looked for."""
    page.open("/?q=kms.test")
    page.one("#filters a[href*='=srv_missing']").click()
    assert set(page.path.removeprefix("/?").split("&")) == {"q=kms.test", "verdict=srv_missing"}
    shown = [each.text for each in page.all("#zones .card")]
    assert shown
    assert all("srv_missing" in each for each in shown), shown
    assert page.one("#filters [aria-current]").text.startswith("srv_missing")
    assert page.one("#filters [aria-current] b").text == str(len(shown))


# --- Accessible to all


@BOTH_VIEWS
@pytest.mark.parametrize(
    ("path", "unfolded"),
    [
        ("/?q=ed.kms.test", "main details"),
        ("/?q=healthy", ""),
        ("/zones/weighted.kms.test", "#past li:first-child details"),
        ("/clients/branch-workgroup", "#past li:first-child details"),
    ],
    ids=["trouble", "all kinds", "zone", "kind of client"],
)
def test_accessible(page: Browser, path: str, unfolded: str, size: tuple[int, int], scheme: Scheme) -> None:
    """axe-core finds nothing on a page, folded or unfolded: contrast, names, roles, order."""
    need_axe()
    page.show(size=size, scheme=scheme)
    page.open(path)
    if unfolded:
        unfold_all(page, unfolded)
    assert page.violations() == []


@BOTH_VIEWS
def test_host_page(page: Browser, size: tuple[int, int], scheme: Scheme) -> None:
    """The card of a static host leads to its page, which shows what was done and is as accessible."""
    need_axe()
    page.show(size=size, scheme=scheme)
    page.open("/?q=kms.closed")
    page.one("#static-hosts h3 a").click()
    assert page.path.startswith("/hosts/kms.closed.kms.test:")
    trace = unfold(page, page.one("#past li:first-child")).find_element(By.CSS_SELECTOR, "table").text
    assert "connection_refused" in trace
    assert page.violations() == []


@BOTH_VIEWS
@pytest.mark.parametrize("path", ["/zones/contoso.test", "/nowhere"])
def test_accessible_where_nothing_is(page: Browser, path: str, size: tuple[int, int], scheme: Scheme) -> None:
    """A page that says that something is not there is as accessible as the others."""
    need_axe()
    page.show(size=size, scheme=scheme)
    page.open(path)
    assert page.violations() == []
    [complaint] = page.complaints()  # of Chromium, about the status
    assert path in complaint
    assert "404" in complaint


# --- What changes while one looks


@pytest.fixture(scope="module")
def named(module_lab: Lab) -> Named:
    """Serve zones that the tests change, many that stay, and one whose names are written to do harm."""
    up = module_lab.listener(), module_lab.listener()
    hosts = (f"kms1 A {LOOPBACK}", f"kms2 A {LOOPBACK}")
    both = zone_file(srv("kms1", up[0].port), srv("kms2", up[1].port), *hosts)
    hostile = zone_file(
        *(srv(label, up[0].port) for label in HOSTILE_LABELS),
        *(f"{label} A {LOOPBACK}" for label in HOSTILE_LABELS),
    )
    here = zone_file(srv("kms1.changing.test.", up[0].port))
    return module_lab.named({"changing.test": both, "hostile.test": hostile, **dict.fromkeys(SITES, here)})


@pytest.fixture(scope="module")
def watching(module_lab: Lab, named: Named) -> Exporter:
    """Watch these zones."""
    exporter = module_lab.exporter(
        config(
            zone("changing.test", labels={"team": "workplace"}),
            zone("hostile.test", labels={"team": HOSTILE_VALUE}),
            *(zone(site, labels={"team": "workplace"}) for site in SITES),
            dns={"servers": [named.server]},
            clients=[{"name": HOSTILE_TEXT, "suffixes": ["hostile.test"]}],
            **OFTEN,
        )
    )
    wait_until_checked(exporter)
    return exporter


@pytest.fixture
def live(browser: Browser, watching: Exporter, named: Named) -> Browser:
    """Look at zones that change, on pages that refresh themselves quickly."""
    browser.refresh_every(OFTEN_SECONDS)
    return at(browser, watching)


def test_unfold_of_what_a_large_page_leaves_out(live: Browser) -> None:
    """A zone far down on a large page has its details fetched when it is unfolded."""
    live.refresh_every(NEVER_SECONDS)  # which would fetch them too
    live.open("/")
    last = live.all("#zones .card")[-1]
    assert last.find_elements(By.CSS_SELECTOR, ".ladder") == []
    details = unfold(live, last)
    wait_until(lambda: details.find_elements(By.CSS_SELECTOR, ".ladder") or None, "the ladder is fetched")
    assert details.find_element(By.CSS_SELECTOR, ".ladder").is_displayed()
    assert any("part=detail" in url for url in live.requested())


def test_refresh_in_place(live: Browser, named: Named) -> None:
    """A record that goes shows without a reload; what is scrolled to, unfolded, focused or typed stays."""
    live.open("/?q=test")
    live.driver.execute_script("window.same = true")
    first, last = card(live, "changing.test"), live.all("#zones .card")[-1]
    assert "ok" in classes(first)
    for each in (first, last):
        unfold(live, each)
    last.find_element(By.TAG_NAME, "summary").send_keys("")  # focus, which scrolls there
    before = state(live, last)
    assert live.js("scrollY") > 0
    named.update("changing.test", "delete _vlmcs._tcp.changing.test SRV")
    wait_until(lambda: "srv_missing" in card(live, "changing.test").text or None, "the page shows it")
    wait_until(lambda: "gone" in first.text or None, "the details show it")
    assert live.js("window.same")
    assert names(live)[0] == "changing.test"
    assert live.js("[...arguments].every(each => each.querySelector('details').open)", first, last)
    assert state(live, last) == before


def test_refresh_leaves_what_is_being_typed(live: Browser) -> None:
    """A refresh takes neither the focus nor a character from who types a name slowly."""
    live.open("/")
    field = live.one("#q")
    for letter in "site07":
        field.send_keys(letter)
        live.requested()
        wait_until(lambda: live.requested() or None, "a refresh")
    wait_until(lambda: names(live) == ["site07.test"] or None, "only that zone is shown")
    assert field.get_attribute("value") == "site07"
    assert live.js("document.activeElement === arguments[0]", field)


def test_exporter_that_goes_and_comes_back(lab: Lab, browser: Browser) -> None:
    """While the exporter is gone the page says so politely and shows what it had, until it is back."""
    quiet = config(hosts=[f"{LOOPBACK}:1"])
    exporter = lab.exporter(quiet)
    browser.refresh_every(OFTEN_SECONDS)
    at(browser, exporter).open("/")
    notice = browser.one("#notice")
    assert (notice.text, notice.get_attribute("role")) == ("", "status")
    assert exporter.stop() == 0
    wait_until(lambda: notice.text or None, "the page says something")
    assert "cannot be reached" in notice.text
    assert browser.one("h1").is_displayed()
    lab.exporter(quiet, port=exporter.web[1])
    wait_until(lambda: notice.text == "" or None, "the page says nothing any more")
    complaints = browser.complaints()
    assert complaints
    assert all("net::ERR_CONNECTION" in complaint for complaint in complaints), complaints


# --- What comes from DNS


@pytest.mark.parametrize("path", ["/", "/?q=hostile", "/zones/hostile.test"])
def test_names_are_only_text(live: Browser, path: str) -> None:
    """Names, labels and kinds of clients written as markup, script or template are shown, not run."""
    live.open(path)
    unfold_all(live)
    shown = live.js("document.body.textContent")
    for text in ("<img src=x", "</script></main>", "{{ pwned }}", r"\060img\032src\061x", "x" * 63):
        assert text in shown
    assert live.js("typeof pwned") == "undefined"
    assert live.all("img, main script, [onerror], [onfocus], [autofocus]") == []
    assert live.js("document.documentElement.scrollWidth <= innerWidth")


# --- Looking


def classes(element: WebElement) -> list[str]:
    """List the classes of an element."""
    return (element.get_attribute("class") or "").split()


def brightness(browser: Browser, colour: str) -> float:
    """Average the red, green and blue of a colour of the body."""
    found = browser.js(f"getComputedStyle(document.body).{colour}")
    return sum(int(number) for number in re.findall(r"\d+", found)[:3]) / 3


def state(browser: Browser, element: WebElement) -> dict[str, object]:
    """Tell what a refresh must leave: where the page and an element are, the focus, and the search."""
    place, focused, typed = browser.js(
        """[
            Math.round(arguments[0].getBoundingClientRect().top),
            document.activeElement.closest('[id]').id,
            document.getElementById('q').value,
        ]""",
        element,
    )
    return {"place": place, "focused": focused, "typed": typed}
