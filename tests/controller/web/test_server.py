from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import closing, contextmanager

import pytest
from edgewright.controller.authority import CA_NAME, SERVER_CERTIFICATE, SERVER_KEY, issue_server, make_authority
from edgewright.controller.web.server import Listen, Tls, WebServer, parse_listen
from edgewright.core.errors import Rejected, Unfit

NOW = dt.datetime.now(dt.timezone.utc)


@contextmanager
def serving(app, listen):
    with closing(WebServer(app, listen)) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "127.8.8.8:1"])
def test_loopback_needs_no_encryption(text):
    assert parse_listen(text, None, None).is_loopback


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80", "fleet.example:80"])
def test_elsewhere_plain_http_is_refused_unless_a_proxy_encrypts(text):
    with pytest.raises(Rejected) as caught:
        parse_listen(text, None, None)

    assert caught.value.code == "dashboard-not-encrypted"
    assert parse_listen(text, None, "192.0.2.9").proxy == "192.0.2.9"


@pytest.mark.parametrize("text", ["", "8080", "host", "127.0.0.1:x", "127.0.0.1:99999", "a:1/b", "u@127.0.0.1:1", "[::1:80"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(Rejected) as caught:
        parse_listen(text, None, None)

    assert caught.value.code == "listen-malformed"


def test_a_port_that_is_taken_is_told(app):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Unfit) as caught:
        WebServer(app, Listen("127.0.0.1", taken.getsockname()[1]))

    assert caught.value.code == "dashboard-address-taken"


def test_a_certificate_and_a_key_that_do_not_belong_together_are_refused(app, tmp_path):
    (tmp_path / "c").write_text("no certificate")
    with pytest.raises(Unfit) as caught:
        WebServer(app, Listen("127.0.0.1", 0, Tls(tmp_path / "c", tmp_path / "c")))

    assert caught.value.code == "tls-files-unusable"


def test_browsers_that_trust_the_fleet_s_authority_are_served_and_others_hang_up(app, paths, lively):
    make_authority(paths, "fleet", NOW)
    issue_server(paths, "fleet", ["127.0.0.1"], NOW, paths.web)
    tls = Tls(paths.web / SERVER_CERTIFICATE, paths.web / SERVER_KEY)
    trusting = ssl.create_default_context(cafile=str(paths.trust / CA_NAME))
    with serving(app, Listen("127.0.0.1", 0, tls)) as server:
        with urllib.request.urlopen(f"{server.address}/healthz", context=trusting, timeout=10) as answer:
            assert (answer.status, answer.read()) == (200, b"ok\n")
            assert "strict-transport-security" in answer.headers
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{server.address}/healthz", context=ssl.create_default_context(), timeout=10)

    assert (paths.web / SERVER_KEY).stat().st_mode & 0o077 == 0


def test_only_the_named_proxy_is_believed_about_who_asks(app, lively):
    request = {"headers": {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}}
    seen = {}
    for proxy in ("127.0.0.1", "192.0.2.1"):
        with serving(app, Listen("127.0.0.1", 0, None, proxy)) as server:
            asked = urllib.request.Request(f"{server.address}/healthz", **request)
            with urllib.request.urlopen(asked, timeout=10) as answer:
                seen[proxy] = "strict-transport-security" in answer.headers

    assert seen == {"127.0.0.1": True, "192.0.2.1": False}
