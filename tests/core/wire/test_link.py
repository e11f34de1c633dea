from __future__ import annotations

import datetime as dt
import itertools
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.wire.frames import MAX_PAYLOAD_BYTES
from edgewright.core.wire.link import Backoff, Link, LinkOptions, TlsFiles, Will

SAID = "ew/v1/fleet/board-1/event"
TOLD = "ew/v1/fleet/board-1/desired"
STATUS = "ew/v1/fleet/board-1/status"


def test_a_link_comes_up_subscribed_and_carries_messages_both_ways(broker: Any, mqtt: Any) -> None:
    handler, other = mqtt.RecordingHandler(), broker.client()
    other.subscribe(SAID)
    link = broker.link(handler, [(TOLD, 1)], username="board-1", password=mqtt.password_of("board-1"))
    handler.until(lambda: handler.ups == 1)
    message_id = link.publish(SAID, b"up", qos=1)
    other.publish(TOLD, b"goal")

    other.until_heard(SAID, b"up")
    handler.until(lambda: handler.has_heard(TOLD, b"goal") and message_id in handler.published)
    assert link.is_connected


def test_nagle_is_off_on_the_socket(broker: Any, mqtt: Any) -> None:
    handler = mqtt.RecordingHandler()
    link = broker.link(handler)
    handler.until(lambda: handler.ups == 1)

    assert link._client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_nothing_is_queued_while_the_link_is_down(mqtt: Any) -> None:
    link = Link(LinkOptions("127.0.0.1", 9, "nobody"), mqtt.RecordingHandler(), [])

    assert link.publish(SAID, b"lost", qos=1) is None
    assert not link.is_connected


def test_a_payload_that_brokers_refuse_is_refused_before_it_is_sent(broker: Any, mqtt: Any) -> None:
    handler, other = mqtt.RecordingHandler(), broker.client()
    other.subscribe(SAID)
    link = broker.link(handler)
    handler.until(lambda: handler.ups == 1)
    with pytest.raises(Rejected) as refused:
        link.publish(SAID, bytes(MAX_PAYLOAD_BYTES + 1), qos=1)
    link.publish(SAID, bytes(MAX_PAYLOAD_BYTES), qos=1)

    assert refused.value.code == "message-too-large"
    assert other.until(lambda: [len(entry.payload) for entry in other.heard]) == [MAX_PAYLOAD_BYTES]
    assert handler.downs == []


def test_after_a_cut_the_link_connects_and_subscribes_again(broker: Any, mqtt: Any) -> None:
    handler, other, proxy = mqtt.RecordingHandler(), broker.client(), broker.proxy()
    link = broker.link(handler, [(TOLD, 1)], port=proxy.port)
    handler.until(lambda: handler.ups == 1)
    proxy.cut()
    handler.until(lambda: handler.ups == 2)
    other.publish(TOLD, b"still there")
    handler.until(lambda: handler.has_heard(TOLD, b"still there"))

    assert len(handler.downs) == 1
    assert link.is_connected


def test_the_first_connection_is_retried_like_any_other(broker: Any, mqtt: Any) -> None:
    handler = mqtt.RecordingHandler()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    broker.link(handler, port=port)
    # Something answers there only now.
    with socket.create_server(("127.0.0.1", port)) as late:
        late.settimeout(mqtt.WAIT_S)
        connection, _ = late.accept()
        with connection:
            connection.settimeout(mqtt.WAIT_S)
            first = connection.recv(1)

    assert first == b"\x10"  # CONNECT


def test_what_is_retained_can_be_asked_for_again(broker: Any, mqtt: Any) -> None:
    handler, other = mqtt.RecordingHandler(), broker.client()
    other.publish(TOLD, b"kept", retain=True)
    link = broker.link(handler, [(TOLD, 1)])
    handler.until(lambda: handler.ups == 1 and len(handler.heard) == 1)
    link.subscribe_again()

    assert handler.until(lambda: len(handler.heard) == 2)
    assert {entry.payload for entry in handler.heard} == {b"kept"}
    assert handler.ups == 1


def test_a_failing_handler_does_not_end_the_link(broker: Any, mqtt: Any, caplog: pytest.LogCaptureFixture) -> None:
    handler, other = mqtt.RecordingHandler(fail_on=TOLD), broker.client()
    broker.link(handler, [(TOLD, 1), (STATUS, 1)])
    handler.until(lambda: handler.ups == 1)
    other.publish(TOLD, b"the handler fails on it")
    other.publish(STATUS, b"after")
    handler.until(lambda: handler.has_heard(STATUS, b"after"))

    assert "A callback of the MQTT link failed" in caplog.text


def test_every_connection_has_a_will_of_its_own_which_the_broker_publishes_when_it_is_cut(broker: Any, mqtt: Any) -> None:
    numbers = itertools.count(1)
    handler, other, proxy = mqtt.RecordingHandler(), broker.client(), broker.proxy()
    other.subscribe(STATUS)
    broker.link(handler, [], lambda: Will(STATUS, b"will %d" % next(numbers)), port=proxy.port)
    handler.until(lambda: handler.ups == 1)
    proxy.cut()
    other.until_heard(STATUS, b"will 1")
    handler.until(lambda: handler.ups == 2)
    proxy.cut()
    other.until_heard(STATUS, b"will 2")
    newcomer = broker.client()
    newcomer.subscribe(STATUS)

    assert newcomer.until_heard(STATUS, b"will 2").retain


def test_stop_says_goodbye_to_the_broker_so_that_no_will_is_published(broker: Any, mqtt: Any) -> None:
    handler, other = mqtt.RecordingHandler(), broker.client()
    other.subscribe(STATUS)
    link = broker.link(handler, [], lambda: Will(STATUS, b"will"))
    handler.until(lambda: handler.ups == 1)
    link.publish(STATUS, b"goodbye", qos=1)
    link.stop()
    other.until_heard(STATUS, b"goodbye")
    other.publish(STATUS, b"the end")
    other.until_heard(STATUS, b"the end")

    assert [entry.payload for entry in other.heard] == [b"goodbye", b"the end"]
    assert not link.is_connected
    assert handler.downs == []


@pytest.mark.parametrize("running_broker", ["mosquitto"], indirect=True)  # amqtt lets both stay, the older one deaf
def test_two_clients_with_one_id_are_told_so(broker: Any, mqtt: Any) -> None:
    one, two = mqtt.RecordingHandler(), mqtt.RecordingHandler()
    for handler in (one, two):
        broker.link(handler, [(TOLD, 1)], client_id="contested", reconnect_max_s=0.5)
    one.until(lambda: one.problems)

    assert one.problems[0].code == "client-id-contested"
    assert "'contested'" in one.problems[0].message


def test_a_refused_login_is_told_and_tried_again(broker: Any, mqtt: Any) -> None:
    handler = mqtt.RecordingHandler()
    broker.link(handler, password="wrong")
    handler.until(lambda: len(handler.problems) >= 2)

    assert {problem.code for problem in handler.problems} == {"broker-refused"}
    assert handler.ups == 0
    assert handler.downs == []


@pytest.mark.parametrize("running_broker", ["amqtt"], indirect=True)  # mosquitto grants every subscription and withholds the messages
def test_a_refused_subscription_is_told(broker: Any, mqtt: Any) -> None:
    handler = mqtt.RecordingHandler()
    broker.link(handler, [(TOLD, 1), ("ew/v1/fleet/board-2/desired", 1)], username="board-1", password=mqtt.password_of("board-1"))
    handler.until(lambda: handler.ups == 1)

    assert [(problem.code, "board-2" in problem.message, "board-1" in problem.message) for problem in handler.problems] == [
        ("subscription-refused", True, False)
    ]


def test_a_message_that_the_broker_has_not_acknowledged_is_repeated_before_anything_new(broker: Any, mqtt: Any) -> None:
    handler, other, proxy = mqtt.RecordingHandler(), broker.client(), broker.proxy()
    other.subscribe(STATUS)
    link = broker.link(handler, [(TOLD, 1)], port=proxy.port)
    handler.until(lambda: handler.ups == 1)
    handler.on_up = lambda: link.publish(STATUS, b"new", qos=1)
    proxy.is_swallowing = True
    link.publish(STATUS, b"old", qos=1)
    proxy.until(lambda: proxy.swallowed_bytes)
    proxy.is_swallowing = False
    proxy.cut()
    other.until_heard(STATUS, b"new")

    assert [entry.payload for entry in other.heard] == [b"old", b"new"]


@pytest.mark.parametrize(("host", "port"), [("", 1883), ("a..b", 1883), ("x" * 70, 1883), ("localhost", 0), ("localhost", -1)])
def test_an_address_that_cannot_work_is_refused_at_the_start(host: str, port: int, mqtt: Any) -> None:
    threads = threading.active_count()
    with pytest.raises(Rejected) as refused:
        Link(LinkOptions(host, port, "nobody"), mqtt.RecordingHandler(), []).start()

    assert refused.value.code == "broker-address-invalid"
    assert threading.active_count() == threads


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_tls_files_that_cannot_work_are_refused(content: bytes | None, tmp_path: Path, mqtt: Any) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_bytes(content)
    with pytest.raises(Rejected) as refused:
        Link(LinkOptions("localhost", 8883, "nobody", tls=TlsFiles(ca)), mqtt.RecordingHandler(), [])

    assert refused.value.code == "tls-files-unusable"
    assert str(ca) in refused.value.message


def test_the_delay_doubles_between_its_bounds_and_starts_anew_after_a_reset() -> None:
    bounds: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    backoff = Backoff(1.0, 30.0, highest)
    delays = [backoff.delay_s() for _ in range(7)]
    backoff.reset()

    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff.delay_s() == 1.0
    assert {low for low, _ in bounds} == {0.5}


def test_the_delay_is_random_between_half_the_minimum_and_its_ceiling() -> None:
    backoff = Backoff(1.0, 30.0)
    delays = [backoff.delay_s() for _ in range(200)][5:]

    assert all(0.5 <= delay <= 30.0 for delay in delays)
    assert len(set(delays)) > 100


def test_the_delay_survives_a_year_without_a_broker() -> None:
    backoff = Backoff(1.0, 30.0, lambda _low, high: high)
    for _ in range(10_000):
        delay_s = backoff.delay_s()

    assert delay_s == 30.0


def test_a_later_certificate_is_used_for_the_next_connection(tmp_path: Path, mqtt: Any) -> None:
    options = LinkOptions("127.0.0.1", 9, "nobody", tls=TlsFiles(write_authority(tmp_path)))
    link = Link(options, mqtt.RecordingHandler(), [])
    with pytest.raises(OSError, match="PEM"):
        link.use_certificate(tmp_path / "ca.pem", tmp_path / "ca.pem")


def write_authority(folder: Path) -> Path:
    from edgewright.controller import authority
    from edgewright.controller.paths import FleetPaths

    paths = FleetPaths(folder / "fleet")
    paths.make()
    authority.make_authority(paths, "fleet", dt.datetime.now(dt.timezone.utc).replace(microsecond=0))
    target = folder / "ca.pem"
    target.write_bytes((paths.trust / authority.CA_NAME).read_bytes())
    return target
