from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgewright.controller import broker as module
from edgewright.controller.broker import OwnBroker, free_port
from edgewright.controller.passwords import set_password
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Unfit
from edgewright.core.wire.frames import MAX_PAYLOAD_BYTES

STATUS = "ew/v1/fleet/board-1/status"
KINDS = ["mosquitto", "amqtt"]


def code_of(own: OwnBroker) -> str:
    with pytest.raises(Unfit) as unfit:
        own.start()
    assert not own.has_died()
    return unfit.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_is_taken_is_told_at_once(kind: Any, mqtt: Any, paths: FleetPaths) -> None:
    mqtt.skip_unless_installed(kind)
    with socket.create_server(("127.0.0.1", 0)) as other:
        own = OwnBroker(paths, "fleet", kind, other.getsockname()[1])

        assert code_of(own) == "port-in-use"


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_that_cannot_start_is_told_with_its_last_words(kind: Any, mqtt: Any, paths: FleetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    mqtt.skip_unless_installed(kind)
    monkeypatch.setattr(OwnBroker, f"_{kind}", lambda _: [sys.executable, "-c", "import sys; print('first'); sys.exit('no such luck')"])
    with pytest.raises(Unfit) as unfit:
        OwnBroker(paths, "fleet", kind).start()

    assert unfit.value.code == "broker-start-failed"
    assert "no such luck" in unfit.value.message
    assert "first" not in unfit.value.message


def test_a_broker_that_is_not_installed_is_told(paths: FleetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_mosquitto", lambda: None)
    with pytest.raises(Unfit) as unfit:
        OwnBroker(paths, "fleet", "mosquitto")

    assert unfit.value.code == "broker-absent"


def test_without_mosquitto_the_embedded_broker_is_taken(paths: FleetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("amqtt")
    monkeypatch.setattr(module, "find_mosquitto", lambda: None)

    assert OwnBroker(paths, "fleet").kind == "amqtt"


def test_mosquitto_is_found_outside_the_path(monkeypatch: pytest.MonkeyPatch, mqtt: Any) -> None:
    mqtt.skip_unless_installed("mosquitto")
    monkeypatch.setenv("PATH", "/nonexistent")

    assert module.find_mosquitto() is not None or not any(Path(folder, "mosquitto").exists() for folder in ("/usr/sbin", "/usr/local/sbin"))


def test_a_new_password_works_without_a_restart_and_nobody_is_thrown_out(broker: Any, mqtt: Any) -> None:
    controller = broker.client()
    controller.subscribe("ew/v1/fleet/#")
    device = broker.client("board-1")
    assert broker.client("board-9").code.is_failure
    set_password(broker.paths.passwords, "board-9", mqtt.password_of("board-9"))
    broker.own.refresh()
    newcomer = broker.until_login("board-9")
    newcomer.publish("ew/v1/fleet/board-9/status", b"new")
    device.publish(STATUS, b"still here")
    controller.until_heard("ew/v1/fleet/board-9/status", b"new")
    controller.until_heard(STATUS, b"still here")

    assert not device.is_down
    assert not controller.is_down


def test_a_changed_password_shuts_the_old_one_out(broker: Any, mqtt: Any) -> None:
    set_password(broker.paths.passwords, "board-8", "old")
    broker.own.refresh()
    broker.until_login("board-8", password="old")
    before = broker.paths.passwords.stat()
    set_password(broker.paths.passwords, "board-8", "new")
    os.utime(broker.paths.passwords, ns=(before.st_atime_ns, before.st_mtime_ns))  # within one tick of the kernel's clock
    broker.own.refresh()
    broker.until_login("board-8", password="new")

    assert broker.client("board-8", password="old").code.is_failure


@pytest.mark.parametrize("running_broker", ["mosquitto"], indirect=True)  # amqtt has no bound
def test_a_message_above_the_wires_bound_does_not_pass(broker: Any) -> None:
    controller, device = broker.client(), broker.client("board-1")
    controller.subscribe("ew/v1/fleet/#")
    device.publish(STATUS, bytes(MAX_PAYLOAD_BYTES + 1))
    device.publish(STATUS, bytes(MAX_PAYLOAD_BYTES))
    controller.until(lambda: controller.heard)

    assert [len(entry.payload) for entry in controller.heard] == [MAX_PAYLOAD_BYTES]
    assert not device.is_down


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_broker_leaves_no_process(kind: Any, mqtt: Any, paths: FleetPaths) -> None:
    mqtt.skip_unless_installed(kind)
    with OwnBroker(paths, "fleet", kind) as own:
        assert own._process is not None
        process, port = own._process, own.port
        assert not own.has_died()

    assert process.poll() is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broker_does_not_outlive_a_controller_that_is_killed(kind: Any, mqtt: Any, paths: FleetPaths) -> None:
    mqtt.skip_unless_installed(kind)
    code = "import sys, time\nfrom pathlib import Path\nfrom edgewright.controller.broker import OwnBroker\n"
    code += "from edgewright.controller.paths import FleetPaths\nown = OwnBroker(FleetPaths(Path(sys.argv[1])), 'fleet', sys.argv[2])\n"
    code += "own.start()\nprint(own._process.pid, flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-I", "-c", code, str(paths.root), kind], stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        descriptor = os.pidfd_open(pid)
        controller.send_signal(signal.SIGKILL)
    try:
        import select

        assert select.select([descriptor], [], [], mqtt.WAIT_S)[0], "the broker is still there"
    finally:
        os.close(descriptor)


def test_ctrl_c_at_the_terminal_does_not_reach_the_broker(broker: Any) -> None:
    assert broker.own._process is not None

    assert os.getpgid(broker.own._process.pid) != os.getpgid(os.getpid())


def test_only_this_machine_can_reach_it(broker: Any) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = [fields[1] for fields in listening if fields[3] == "0A" and fields[1].endswith(f":{broker.port:04X}")]

    assert mine == [f"0100007F:{broker.port:04X}"]


def test_a_free_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] > 0
