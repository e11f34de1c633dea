"""A real RabbitMQ with its MQTT plugin for tests: loopback only, a folder and a port mapper of its own, nothing of it survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from edgewright.controller.broker import free_port

START_S = 90.0
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def definitions(users: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Users and what they may do: the plugin publishes by the exchange ``amq.topic`` and keeps a queue per client."""
    names = [name for name, _ in users]
    return {
        "vhosts": [{"name": "/"}],
        "users": [{"name": name, "password": password, "tags": ""} for name, password in users],
        "permissions": [
            {"user": name, "vhost": "/", "configure": "^mqtt-", "write": "^(mqtt-|amq.topic)", "read": "^(mqtt-|amq.topic)"} for name in names
        ],
    }


@contextmanager
def running_rabbitmq(folder: Path, users: Sequence[tuple[str, str]]) -> Iterator[int]:
    """The port of its MQTT listener; skips where it is not installed."""
    if not PROGRAM.exists():
        pytest.skip("RabbitMQ is not installed: apt install rabbitmq-server")
    mqtt, mapper, distribution = free_port(), free_port(), free_port()
    (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
    (folder / "definitions.json").write_text(json.dumps(definitions(users)))
    lines = [
        "listeners.tcp = none",
        f"mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}",
        "mqtt.allow_anonymous = false",
        f"load_definitions = {folder}/definitions.json",
    ]
    (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"edgewright{mqtt}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
    }
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [str(PROGRAM)], env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_for(mqtt, process, folder)
        yield mqtt
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run(["epmd", "-port", str(mapper), "-kill"], env=environment, check=False, capture_output=True)
        shutil.rmtree(folder / "mnesia", ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        assert process.poll() is None, (folder / "out").read_text(errors="replace")[-500:]
        assert time.monotonic() < deadline_s, "RabbitMQ did not start in time"
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
