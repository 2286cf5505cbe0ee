"""The pages in a real browser: as people see them, light and dark, wide and narrow, without a mouse.

One browser for everything: it takes longer to start than to look.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from devtools.tools import chromedriver, chromium
from reaper.web.state import Configuration
from tests.web.conftest import Site
from tests.web.site import DAY, NOW, fill

PAGES = {"status": "/", "runs": "/runs", "run": "/runs/run0029aaaaa", "blocked": "/runs/edge0000aaaa"}
WIDTHS = (1280, 390)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    # Whatever else a browser may want to look up is not there.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

#: The ratio of each text's colour to what is behind it, where that is less than WCAG 2.2 (AA) asks for.
FAINT_TEXT = """
const light = c => { c /= 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => .2126 * light(r) + .7152 * light(g) + .0722 * light(b);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgb(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const drawn = element.closest('svg') ? style.fill : style.color;
  const [a, b] = [luminance(rgb(drawn)), luminance(behind(element))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < 4.5) faint.push([walker.currentNode.data.trim(), ratio]);
}
return faint;
"""

#: What the keyboard has to reach, in the order of the page.
INTERACTIVE = """
return [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
  .filter(element => element.classList.contains('skip') || element.checkVisibility())
  .map(element => (element.getAttribute('href') || '') + element.textContent.trim());
"""

FOCUSED = """
const element = document.activeElement;
if (!element || element === document.body) return null;
const style = getComputedStyle(element);
return {
  name: (element.getAttribute('href') || '') + element.textContent.trim(),
  outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
  skip: element.classList.contains('skip'),
  left: element.getBoundingClientRect().left,
};
"""

BARS = """
return [...document.querySelectorAll('svg.plot rect[x]')].map(bar => {
  const box = bar.getBoundingClientRect(), plot = bar.closest('svg').getBoundingClientRect();
  return {
    inside: box.left >= plot.left && box.right <= plot.right
      && box.top >= plot.top && box.bottom <= plot.bottom,
    area: box.width * box.height, fill: getComputedStyle(bar).fill, visible: bar.checkVisibility(),
  };
});
"""


@contextmanager
def started(binaries: tuple[Path, Path], profile: Path) -> Iterator[Chrome]:
    """Start a browser with nothing in it; it ends with the block."""
    browser, driver = map(str, binaries)
    options = ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def look(chrome: Chrome, url: str, *, width: int = 1280, scheme: str = "light") -> None:
    """Open a page on a screen so wide, for a person who prefers this scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    chrome.get(url)


def screenshot(chrome: Chrome, path: Path, width: int) -> None:
    """Save the whole page."""
    height = chrome.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(shot["data"]))


def logged(chrome: Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what the browser logged since the last call."""
    found: list[dict[str, Any]] = chrome.execute("getLog", {"type": kind})["value"]
    return found


def requested(chrome: Chrome) -> list[str]:
    """Return the URLs that the browser asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in logged(chrome, "performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


def tab_through(chrome: Chrome) -> list[dict[str, Any]]:
    """Press Tab until the page has no more; return what had the focus."""
    found: list[dict[str, Any]] = []
    while len(found) < 500:
        ActionChains(chrome).send_keys(Keys.TAB).perform()
        focused = chrome.execute_script(FOCUSED)
        if focused is None:
            break
        found.append(focused)
    return found


@pytest.fixture(scope="session")
def binaries() -> tuple[Path, Path]:
    """The browser and its driver; nothing is fetched while tests run (``make tools`` does that)."""
    return chromium(fetch=False), chromedriver(fetch=False)


def test_the_pages_in_a_browser(site: Site, binaries: tuple[Path, Path], tmp_path: Path) -> None:
    fill(site.store)
    configuration = Configuration(NOW - DAY, "a.yaml:3:5: unknown key 'ruels'", NOW, ("/etc/reaper.yaml",))
    site.state.current = replace(site.state.current, dry_run=True, leader=False, configuration=configuration)
    site.token = "s3cret"
    with site.serve() as served, started(binaries, tmp_path / "profile") as chrome:
        # A person types the token where the browser asks for a password.
        chrome.get(served.replace("://", "://anybody:s3cret@"))
        assert chrome.title == "Status · Reaper"
        requested(chrome)
        for (name, page), width, scheme in product(PAGES.items(), WIDTHS, ("light", "dark")):
            look(chrome, served + page, width=width, scheme=scheme)
            screenshot(chrome, tmp_path / f"{name}-{width}-{scheme}.png", width)
            shown = f"{name} {width} {scheme}"
            assert chrome.execute_script("return document.documentElement.scrollWidth") == width, shown
            assert chrome.execute_script(FAINT_TEXT) == [], shown
            background = "rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)"
            painted = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert painted == background, "the style sheet is applied"
            bars = chrome.execute_script(BARS)
            assert len(bars) == (34 if name == "status" else 0)
            assert all(bar["inside"] and bar["visible"] and bar["area"] > 1 for bar in bars), shown
            assert {"none", "rgb(0, 0, 0)"}.isdisjoint(bar["fill"] for bar in bars)
        origin = urlsplit(served).netloc
        # The icon is in the page itself.
        asked = requested(chrome)
        assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {origin}
        assert {urlsplit(url).path for url in asked if not url.startswith("data:")} == set(PAGES.values())
        assert logged(chrome, "browser") == [], "nothing that the browser complains about"

        for page in PAGES.values():
            check_keyboard(chrome, served + page)
            check_structure(chrome, page)
        check_details_and_links(chrome, served)
        assert logged(chrome, "browser") == []


def check_keyboard(chrome: Chrome, url: str) -> None:
    """Everything that can be used is reached with Tab, in the page's order, and shows that it is."""
    look(chrome, url)
    expected = chrome.execute_script(INTERACTIVE)
    reached = tab_through(chrome)
    assert [one["name"] for one in reached] == expected
    assert all(one["outline"] for one in reached), [one for one in reached if not one["outline"]]
    assert reached[0]["skip"]
    assert reached[0]["left"] >= 0, "it is hidden until it is needed"


def check_structure(chrome: Chrome, page: str) -> None:
    """What a screen reader is told: landmarks, headings, and names for what has no text."""
    nodes = chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    known = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    ]
    roles = [role for role, _ in known]
    for landmark in ("banner", "main", "contentinfo"):
        assert roles.count(landmark) == 1, (page, landmark)
    assert ("navigation", "Pages") in known
    assert [
        name for role, name in known if role in ("table", "image", "region", "navigation") and not name
    ] == []
    assert chrome.execute_script("return document.documentElement.lang") == "en"
    if page == "/":
        assert "Space deleted and collected a day" in [
            name for role, name in known if role in ("image", "img")
        ]
        assert {"Status", "Schedule", "Reclaimed space", "What expired, and why", "Runs"} <= {
            name for role, name in known if role == "heading"
        }


def check_details_and_links(chrome: Chrome, served: str) -> None:
    """A person without a mouse opens the figures, follows a link, and skips to the content."""
    look(chrome, f"{served}/")
    chrome.execute_script("document.querySelector('summary').focus()")
    opened = "return document.querySelector('details').open"
    assert not chrome.execute_script(opened)
    ActionChains(chrome).send_keys(Keys.ENTER).perform()
    assert chrome.execute_script(opened)
    assert chrome.execute_script("return document.querySelector('details table').checkVisibility()")

    look(chrome, f"{served}/")
    ActionChains(chrome).send_keys(Keys.TAB, Keys.ENTER).perform()
    assert chrome.execute_script("return document.activeElement.id") == "main"
    ActionChains(chrome).send_keys(Keys.TAB).perform()
    link = chrome.execute_script(
        "return document.activeElement.closest('main') && document.activeElement.href"
    )
    assert link == f"{served}/#registry-2", "the first thing of note: a blocked registry"

    chrome.execute_script("document.querySelector('main a[href^=\"/runs/\"]').focus()")
    ActionChains(chrome).send_keys(Keys.ENTER).perform()
    assert chrome.title == "Run run0029aaaaa · Reaper"
