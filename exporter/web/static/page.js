// Keeps a page current without a reload: what is unfolded, focused, typed or scrolled to stays.
// The server makes every page; this only fetches the page that is shown again and takes over what differs.
"use strict";

(() => {
  const main = document.getElementById("main");
  const notice = document.getElementById("notice");
  const period = Number(main.dataset.refreshSeconds) * 1000;
  const patience = 10000;
  const pauseAfterKey = 250;
  let timer = 0;
  let underWay = null;
  let shownAt = new Date();

  // --- Taking over what differs

  const isFolded = (element) => element.nodeName === "DETAILS";
  const isLazy = (element) => Boolean(element.dataset && element.dataset.source);
  const isUnfolded = (element) => Boolean(element.parentElement?.closest("details")?.open);

  function takeAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(isFolded(old) && name === "open")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (isFolded(old) && name === "open") continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  function take(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    takeAttributes(old, fresh);
    if (isLazy(fresh) && isUnfolded(old)) return; // what was fetched for it stays until it is fetched again
    takeChildren(old, fresh);
  }

  // Elements with an id are found by it wherever they have moved; others match by their place.
  function takeChildren(old, fresh) {
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let place = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const alike = place && !place.id && !next.id && place.nodeName === next.nodeName ? place : null;
      const match = next.id ? known.get(next.id) : alike;
      if (!match || match.nodeName !== next.nodeName) {
        old.insertBefore(document.importNode(next, true), place);
        continue;
      }
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      take(match, next);
    }
    while (place) {
      const after = place.nextSibling;
      place.remove();
      place = after;
    }
  }

  function show(page) {
    const focused = document.activeElement;
    const fresh = page.getElementById("main");
    if (!fresh) return;
    takeChildren(main, fresh);
    const [footer, freshFooter] = [document.querySelector("footer"), page.querySelector("footer")];
    if (footer && freshFooter) take(footer, freshFooter);
    if (document.title !== page.title) document.title = page.title;
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  // --- Fetching

  async function load(url, signal) {
    const answer = await fetch(url, { headers: { Accept: "text/html" }, cache: "no-store", signal });
    if (!answer.ok) throw new Error(`answers with status ${answer.status}`);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  async function fill(element, signal) {
    const page = await load(element.dataset.source, signal);
    const found = page.getElementById(element.id);
    if (found && element.isConnected) takeChildren(element, found);
  }

  function isOtherVersion(page) {
    const source = (of) => of.querySelector("script[src]")?.getAttribute("src");
    return source(page) !== source(document);
  }

  function say(text) {
    if (notice.textContent !== text) notice.textContent = text;
  }

  async function refresh() {
    window.clearTimeout(timer);
    underWay?.abort();
    const mine = new AbortController();
    underWay = mine;
    const limit = window.setTimeout(() => mine.abort("late"), patience);
    try {
      const page = await load(location.href, mine.signal);
      if (isOtherVersion(page)) {
        location.reload();
        return;
      }
      show(page);
      for (const element of main.querySelectorAll("details[open] > [data-source]")) {
        await fill(element, mine.signal);
      }
      shownAt = new Date();
      say("");
    } catch (error) {
      if (underWay !== mine) return; // another refresh took its place
      const what = error.message?.startsWith("answers ") ? error.message : "cannot be reached";
      say(`The exporter ${what}. This is as of ${shownAt.toLocaleTimeString()}; trying again.`);
    } finally {
      window.clearTimeout(limit);
      if (underWay === mine) {
        underWay = null;
        if (!document.hidden) timer = window.setTimeout(refresh, period);
      }
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) window.clearTimeout(timer);
    else refresh();
  });

  // --- Unfolding what the page does not hold

  main.addEventListener(
    "toggle",
    (event) => {
      if (!event.target.open) return;
      for (const element of event.target.querySelectorAll(":scope > [data-source]")) {
        fill(element).catch(() => {}); // the link in its place goes on leading there
      }
    },
    true,
  );

  // --- Searching while one types

  function search() {
    const form = document.getElementById("search");
    const wanted = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value.trim()) wanted.set(name, value.trim());
    const query = wanted.toString();
    history.replaceState(null, "", query ? `${location.pathname}?${query}` : location.pathname);
    refresh();
  }

  let typing = 0;
  main.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    window.clearTimeout(typing);
    typing = window.setTimeout(search, pauseAfterKey);
  });
  main.addEventListener("submit", (event) => {
    if (event.target.id !== "search") return;
    event.preventDefault();
    window.clearTimeout(typing);
    search();
  });

  timer = window.setTimeout(refresh, period);
})();
