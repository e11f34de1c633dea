"""The pages in a real browser: one fleet, one login, and what only a browser knows: that nothing is refused, nothing overflows, and keys suffice."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from edgewright.controller.tokens import Tokens
from edgewright.controller.web.server import Listen, WebServer
from edgewright.core.wire.messages import Status

NOW_S = 1_800_000_000.0
PAGES = (
    "/",
    "/devices",
    "/devices/board-1",
    "/devices/board-2",
    "/rollouts",
    "/deployments/d-1",
    "/audit",
    "/devices/board-1/wipe",
    "/devices/nobody",
)
# WCAG 2's contrast of every visible text with what lies behind it; the smallest, and where it is.
CONTRAST = """
const light = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const parse = c => {
  const m = c.match(/[\\d.]+/g).map(Number);
  return c.startsWith("color(") ? [...m.slice(0, 3).map(x => x * 255), m[3] ?? 1] : m;
};
const lum = c => 0.2126 * light(c[0]) + 0.7152 * light(c[1]) + 0.0722 * light(c[2]);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if ((c[3] ?? 1) > 0.99) return c;
  }
  return [255, 255, 255];
};
let worst = [99, ""];
for (const e of document.querySelectorAll("main *, header *")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.getClientRects().length) continue;
  const style = getComputedStyle(e), isSvg = e instanceof SVGElement;
  const a = lum(parse(isSvg ? style.fill : style.color)), b = lum(behind(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < worst[0]) worst = [ratio, e.tagName + " " + e.className + " " + e.textContent.slice(0, 40)];
}
return worst;
"""
ONLINE = "return document.querySelector('.tile.good b').textContent"  # asked in one go: the page exchanges its parts meanwhile
UNLABELLED = """
return [...document.querySelectorAll("input:not([type=hidden]), select")].filter(e => !e.labels.length).map(e => e.name)
  .concat([...document.querySelectorAll("svg[role=img]")].filter(e => !e.getAttribute("aria-label")).map(e => e.outerHTML.slice(0, 80)))
  .concat(document.querySelectorAll("h1").length === 1 ? [] : ["h1"]);
"""


@pytest.fixture(scope="session")
def browsing(load_fake):
    module = load_fake("browser")
    if (why := module.missing()) is not None:
        pytest.skip(why)
    return module


@pytest.fixture(scope="session")
def chromium(browsing, tmp_path_factory):
    """One browser for all: starting it takes longer than a test."""
    with browsing.open_browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture
def driver(browsing, chromium, app, database, lively):
    """Logged in as an administrator, at the page of `lively`."""
    token = Tokens(database).create("admin", "admin", "user:x", NOW_S)
    with closing(WebServer(app, Listen("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            chromium.address = server.address
            browsing.view(chromium, 1280, 900)
            browsing.log_in(chromium, server.address, token)
            yield chromium
        finally:
            chromium.get("about:blank")
            server.stop()
            thread.join(20)


def test_every_page_is_whole_on_a_desk_on_a_phone_and_in_the_dark(driver, browsing):
    found = {}
    for name, options in {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844, "is_phone": True, "is_dark": True}}.items():
        browsing.view(driver, **options)
        for path in PAGES:
            driver.get(driver.address + path)
            overflow = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            ratio, where = driver.execute_script(CONTRAST)
            found[name, path] = (overflow, driver.execute_script(UNLABELLED), None if ratio >= 4.5 else (round(ratio, 2), where))

    assert dict.fromkeys(found, (0, [], None)) == found
    assert [entry for entry in browsing.complaints(driver) if "404" not in entry] == []


def test_a_page_follows_what_happens_and_a_deed_is_done_by_keys_alone(driver, recorder, database):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(driver.address + "/")
    assert driver.execute_script(ONLINE) == "1"
    recorder.record(Status(fleet="fleet", device="board-2", online=True, boot_id="b", session=1, agent_version="1"), NOW_S + 90)
    WebDriverWait(driver, 20).until(lambda page: page.execute_script(ONLINE) == "2")

    driver.get(driver.address + "/devices/board-1/wipe")
    for _ in range(20):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if driver.switch_to.active_element.text == "Wipe":
            break
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    WebDriverWait(driver, 20).until(lambda page: page.current_url.endswith("/devices/board-1"))
    assert "wipe" in driver.page_source.lower()

    from edgewright.controller.audit import AuditLog

    assert AuditLog(database).entries("board-1")[0].action == "device.wipe"
