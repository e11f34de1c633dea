"""A link through a proxy, a real one on loopback, to a real broker."""

from __future__ import annotations

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.wire.link import LinkOptions
from edgewright.core.wire.proxy import Proxy, proxy_from_url

TOLD = "ew/v1/fleet/board-1/desired"


@pytest.fixture
def proxies(load_fake):
    pytest.importorskip("socks", reason="PySocks is not installed: pip install 'edgewright[proxy]'")
    return load_fake("proxies")


def comes_up(broker, mqtt, proxy):
    """Whether a message gets through; the handler that saw it."""
    handler, other = mqtt.RecordingHandler(), broker.client()
    link = broker.link(handler, [(TOLD, 1)], username="board-1", password=mqtt.password_of("board-1"), proxy=proxy, reconnect_min_s=0.05)
    handler.until(lambda: handler.ups == 1)
    other.publish(TOLD, b"goal")
    handler.until(lambda: handler.has_heard(TOLD, b"goal"))
    return link


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_messages_pass_through_a_proxy_which_looks_the_broker_up(broker, mqtt, proxies, kind):
    with proxies.TinyProxy(kind) as proxy:
        link = comes_up(broker, mqtt, proxy_from_url(f"{kind}://127.0.0.1:{proxy.port}"))
        assert link.is_connected
        assert proxy.asked == [f"127.0.0.1:{broker.port}"]
        link.stop()


def test_a_password_lets_pass_and_a_wrong_one_does_not(broker, mqtt, proxies):
    with proxies.TinyProxy("http", "board:secret") as proxy:
        address = f"http://board@127.0.0.1:{proxy.port}"
        comes_up(broker, mqtt, proxy_from_url(address, "secret")).stop()
        handler = mqtt.RecordingHandler()
        link = broker.link(handler, [(TOLD, 1)], proxy=proxy_from_url(address, "wrong"))
        assert proxy.refused.wait(20)
        link.stop()

    assert handler.ups == 0
    assert len(proxy.asked) == 1


def test_an_address_says_everything_but_the_password():
    assert proxy_from_url("http://b%40x@proxy.example:3128", "p") == Proxy("HTTP", "proxy.example", 3128, "b@x", "p")
    assert proxy_from_url("socks5://[::1]:1080") == Proxy("SOCKS5", "::1", 1080)
    assert "secret" not in repr(LinkOptions("h", 1, "c", proxy=proxy_from_url("http://u@h:1", "secret")))


@pytest.mark.parametrize(
    "text", ["proxy:3128", "ftp://proxy:21", "http://proxy", "http://:3128", "http://u:secret@proxy:3128", "http://proxy:99999", "http://proxy:1/x"]
)
def test_anything_else_is_no_proxy(text):
    with pytest.raises(Rejected) as refused:
        proxy_from_url(text)

    assert refused.value.code == "proxy-malformed"
    assert "secret" not in refused.value.message
