from __future__ import annotations

import logging

import pytest
from edgewright.controller.audit import AuditLog
from edgewright.controller.tokens import Tokens
from edgewright.controller.web.sessions import IDLE_S, LIFE_S, MAX_SESSIONS, Sessions

NOW_S = 1_800_000_000.0
WIPE = "/devices/board-1/wipe"


def secret_of(client, path=WIPE):
    page = client.get(path).text
    return page.partition('name="form_secret" value="')[2].partition('"')[0]


def wiped(database):
    return [entry for entry in AuditLog(database).entries() if entry.action == "device.wipe"]


def test_nobody_sees_a_page_without_logging_in_and_comes_back_to_it_afterwards(app, asgi, database, lively):
    stranger = asgi.Client(app)
    places = [stranger.get(path).headers["location"] for path in ("/", "/devices?text=a", "/devices/board-1", "/audit", WIPE)]
    token = Tokens(database).create("ann", "viewer", "user:x", NOW_S)
    there = stranger.post("/login", {"token": token, "next": "/devices?text=a"})

    assert places == ["/login", "/login?next=%2Fdevices%3Ftext%3Da", "/login?next=%2Fdevices%2Fboard-1", "/login?next=%2Faudit",
                      "/login?next=%2Fdevices%2Fboard-1%2Fwipe"]  # fmt: skip
    assert (there.status, there.headers["location"]) == (303, "/devices?text=a")
    assert stranger.get("/devices").status == 200


def test_after_the_login_nobody_is_sent_to_another_site(app, asgi, database, lively):
    token = Tokens(database).create("ann", "viewer", "user:x", NOW_S)
    places = ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/ok\r\nx: y", "evil"]

    assert ["/"] * len(places) == [asgi.Client(app).post("/login", {"token": token, "next": place}).headers["location"] for place in places]


def test_the_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_connections(browser, lively):
    plain, secure = browser(), browser(scheme="https")
    (kept,) = secure.cookies

    assert plain.cookies.keys() == {"edgewright"}
    assert kept == "__Host-edgewright"
    assert browser(scheme="https").set_cookie.partition("; ")[2] == "Path=/; HttpOnly; SameSite=Strict; Secure"
    assert browser().set_cookie.partition("; ")[2] == "Path=/; HttpOnly; SameSite=Strict"


def test_a_session_ends_by_logging_out_idling_its_age_and_with_its_token(browser, clock, database, lively):
    ended, idle, revoked, busy = browser(), browser(), browser(), browser()
    stolen = dict(ended.cookies)
    assert ended.post("/logout", {"form_secret": secret_of(ended, "/")}).status == 303
    ended.cookies = stolen
    Tokens(database).revoke(revoked.known.token.split("_")[1], "user:x", clock.now_s)
    assert (ended.get("/").status, revoked.get("/").status, busy.get("/").status) == (303, 303, 200)

    begun_s = clock.now_s
    while clock.now_s < begun_s + LIFE_S - IDLE_S:
        clock.now_s += IDLE_S - 1
        assert busy.get("/").status == 200
    assert idle.get("/").status == 303
    clock.now_s = begun_s + LIFE_S + 1
    assert busy.get("/").status == 303


def test_a_page_that_refreshes_itself_keeps_no_session_alive(browser, clock, lively):
    client, begun_s = browser(), clock.now_s
    while clock.now_s <= begun_s + IDLE_S - 60:
        clock.now_s += 60
        assert client.get("/", x_looking="1").status == 200
    clock.now_s += 61

    assert client.get("/", x_looking="1").status == 303


def test_a_login_gives_a_new_secret_and_ends_the_session_that_was_there(browser, lively):
    client = browser()
    before = dict(client.cookies)
    client.post("/login", {"token": client.known.token})
    after = dict(client.cookies)
    client.cookies = before

    assert before != after
    assert client.get("/").status == 303


def test_a_deed_needs_the_secret_of_this_login_and_a_page_of_this_site(browser, database, lively):
    admin, other = browser("admin"), browser("admin")
    secret = secret_of(admin)
    refused = [
        admin.post(WIPE),
        admin.post(WIPE, {"form_secret": "x"}),
        admin.post(WIPE, {"form_secret": secret_of(other)}),
        admin.post(WIPE, {"form_secret": secret}, sec_fetch_site="cross-site"),
        admin.post(WIPE, {"form_secret": secret}, origin="https://evil.example"),
        admin.post(WIPE, {"form_secret": secret}, origin="null"),
    ]

    assert [403] * len(refused) == [answer.status for answer in refused]
    assert all("form-foreign" in answer.text for answer in refused)
    assert wiped(database) == []
    assert admin.post(WIPE, {"form_secret": secret}).status == 303
    assert [entry.actor for entry in wiped(database)] == ["token:admin"]


def test_nobody_is_logged_in_by_a_form_of_another_site(app, asgi, database, lively):
    token = Tokens(database).create("evil", "viewer", "user:x", NOW_S)
    victim = asgi.Client(app)

    assert victim.post("/login", {"token": token}, sec_fetch_site="cross-site", origin="https://evil.example").status == 403
    assert victim.cookies == {}


def test_a_deed_needs_its_role_by_the_page_as_well(browser, database, lively):
    operator = browser("operator")
    secret = secret_of(operator, "/")

    assert operator.get(WIPE).status == 403
    assert operator.post(WIPE, {"form_secret": secret}).status == 403
    assert wiped(database) == []
    assert "Wipe" not in operator.get("/devices/board-1").text


def test_guessing_tokens_is_held_up_by_address(app, asgi, database, lively):
    guesser, neighbour = asgi.Client(app, address="2001:db8::1"), asgi.Client(app, address="2001:db8:0:1::1")
    token = Tokens(database).create("ann", "viewer", "user:x", NOW_S)
    wrong = [guesser.post("/login", {"token": f"ewt_{number:012x}_" + "A" * 43}).status for number in range(10)]
    guesser.address = "2001:db8::2"  # an address of the same network

    assert wrong == [401] * 10
    assert guesser.post("/login", {"token": token}).status == 429
    assert neighbour.post("/login", {"token": token}).status == 303


def test_no_secret_stands_in_the_log(app, asgi, database, lively, caplog):
    caplog.set_level(logging.DEBUG)
    good, wrong = Tokens(database).create("ann", "viewer", "user:x", NOW_S), "ewt_000000000000_" + "B" * 43
    client = asgi.Client(app)
    client.post("/login", {"token": wrong})
    client.post("/login", {"token": good})
    client.get("/")
    secrets = [good, wrong, *client.cookies.values(), secret_of(client, "/")]

    assert "logged in" in caplog.text
    assert [secret for secret in secrets if secret in caplog.text] == []


def test_sessions_are_bounded_and_the_one_that_was_used_longest_ago_goes():
    sessions = Sessions()
    first, second = sessions.begin("a", 0.0), sessions.begin("b", 1.0)
    assert sessions.find(first, 2.0) is not None
    for number in range(MAX_SESSIONS - 1):
        sessions.begin("c", 3.0 + number / 1000)

    assert sessions.find(second, 5.0) is None
    assert sessions.find(first, 5.0) is not None


@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/overview", "/static/style.css", "/nothing", "/metrics"])
def test_every_answer_forbids_frames_scripts_of_others_and_guessing_of_types(app, asgi, lively, path):
    headers = asgi.Client(app, scheme="https").get(path).headers

    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert headers["strict-transport-security"].startswith("max-age=")
    assert headers["cache-control"] == ("public, max-age=31536000, immutable" if path.startswith("/static") else "no-store")
