"""``edgewright fleet serve`` as a process, with its own broker and with a foreign one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the controller needs SQLAlchemy: pip install 'edgewright[controller]'")

from edgewright.cli.serving import options_from_url
from edgewright.controller.enrollment import read_address
from edgewright.controller.passwords import set_password
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Rejected

Run = Callable[..., Any]


@pytest.fixture
def serve(load_fake: Callable[[str], ModuleType]) -> Any:
    return load_fake("serving").ServeProcess


@pytest.fixture
def state(edgewright: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    assert edgewright("fleet", "keys", "init", "--state", folder).status == 0
    return folder


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_it_says_when_it_is_ready_takes_new_devices_and_ends_clean(
    serve: Any, state: Path, edgewright: Run, mqtt: Any, tmp_path: Path, kind: str
) -> None:
    mqtt.skip_unless_installed(kind)
    with serve(state, "--broker", kind, "--port", 0) as served:
        ready = served.ready
        (broker,) = children(served.process.pid)
        enrolled = edgewright("fleet", "enroll", "board-1", "--state", state, "--out", tmp_path / "board-1", "--json").json
        password = (tmp_path / "board-1" / "password").read_text().strip()
        device = mqtt.log_in(ready["port"], "board-1", password=password)
        device.subscribe("ew/v1/fleet/board-1/desired")
        device.until(lambda: device.heard)
        device.close()
        status = served.end()

    assert ready == {"ready": True, "fleet": "fleet", "broker": kind, "host": "127.0.0.1", "port": enrolled["port"]}
    assert (status, "Traceback" in served.err) == (0, False)
    assert not Path(f"/proc/{broker}").exists()


def test_ctrl_c_ends_it_as_well(serve: Any, state: Path) -> None:
    with serve(state, "--port", 0) as served:
        assert served.ready["ready"]

        assert served.end(signal.SIGINT) == 0
    assert "died" not in served.err


def test_a_second_server_of_one_fleet_is_refused(serve: Any, state: Path, edgewright: Run) -> None:
    with serve(state, "--port", 0) as served:
        assert served.ready["ready"]
        ran = edgewright("fleet", "serve", "--state", state, "--port", 0, "--json")

    assert (ran.status, ran.code) == (1, "fleet-served")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_when_its_broker_dies_it_ends_with_a_reason(serve: Any, state: Path) -> None:
    with serve(state, "--port", 0) as served:
        assert served.ready["ready"]
        os.kill(children(served.process.pid)[0], signal.SIGKILL)
        status = served.wait()

    assert status == 1
    assert "[broker-died]" in served.err.splitlines()[-1]


def test_a_port_that_is_taken_is_one_line(serve: Any, state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, serve(state, "--port", other.getsockname()[1]) as served:
        status = served.wait()

    assert (status, served.err.splitlines()[-1].endswith("[port-in-use]")) == (1, True)


def test_it_serves_by_a_foreign_broker_and_hands_out_its_rules(serve: Any, state: Path, broker: Any, mqtt: Any) -> None:
    password = mqtt.password_of("controller").replace(" ", "%20")
    with serve(state, "--broker", f"mqtt://controller:{password}@127.0.0.1:{broker.port}") as served:
        ready = served.ready
        status = served.end()

    assert (ready["broker"], ready["port"], status) == ("given", broker.port, 0)
    assert (FleetPaths(state).broker / "acl").read_text(encoding="ascii").startswith("user controller")
    address = read_address(FleetPaths(state))
    assert address is not None
    assert (address.host, address.port, address.ca) == ("127.0.0.1", broker.port, None)


def test_a_foreign_broker_that_refuses_the_login_is_one_line_without_the_password(serve: Any, state: Path, broker: Any) -> None:
    with serve(state, "--broker", f"mqtt://controller:a-secret@127.0.0.1:{broker.port}") as served:
        status = served.wait()

    assert (status, served.err.splitlines()[-1].endswith("[broker-refused]")) == (1, True)
    assert "a-secret" not in served.err


def test_a_signal_while_it_waits_for_a_broker_ends_it(serve: Any, state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        with serve(state, "--broker", f"mqtt://127.0.0.1:{silent.getsockname()[1]}") as served:
            connection, _ = silent.accept()
            with connection:
                assert served.end() == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA and a server certificate for 127.0.0.1."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    folder, now = tmp_path_factory.mktemp("certificates"), dt.datetime.now(dt.timezone.utc)
    keys = {name: generate_private_key(SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in keys}
    for name, key in keys.items():
        builder = x509.CertificateBuilder().subject_name(names[name]).issuer_name(names["ca"]).public_key(key.public_key())
        builder = (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        if name == "server":
            address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            builder = builder.add_extension(address, critical=False)
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key()), critical=False)
        certificate = builder.sign(keys["ca"], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return folder


def test_it_serves_by_a_foreign_broker_with_tls_and_devices_learn_its_certificate(
    serve: Any, state: Path, edgewright: Run, mqtt: Any, certificates: Path, tmp_path: Path
) -> None:
    mqtt.skip_unless_installed("mosquitto")
    from edgewright.controller.broker import find_mosquitto, free_port

    port, passwords, config = free_port(), tmp_path / "passwords", tmp_path / "mosquitto.conf"
    set_password(passwords, "controller", "secret")
    lines = [f"listener {port} 127.0.0.1", f"certfile {certificates / 'server.pem'}", f"keyfile {certificates / 'server.key'}"]
    lines += ["allow_anonymous false", f"password_file {passwords}", f"user {'root' if os.geteuid() == 0 else 'nobody'}"]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    mosquitto = subprocess.Popen([find_mosquitto() or "", "-c", config], stderr=subprocess.DEVNULL)
    try:
        with serve(state, "--broker", f"mqtts://controller:secret@127.0.0.1:{port}", "--ca", certificates / "ca.pem") as served:
            assert served.ready["port"] == port
            edgewright("fleet", "enroll", "board-1", "--state", state, "--out", tmp_path / "board-1")
            assert served.end() == 0
        with serve(state, "--broker", f"mqtts://controller:secret@127.0.0.1:{port}", "--ca", certificates / "server.key") as served:
            assert served.wait() == 1
    finally:
        mosquitto.terminate()
        mosquitto.wait(60)

    assert served.err.splitlines()[-1].endswith("[tls-files-unusable]")
    assert 'tls_ca = "broker-ca.pem"' in (tmp_path / "board-1" / "agent.toml").read_text(encoding="utf-8")
    assert (tmp_path / "board-1" / "broker-ca.pem").read_bytes() == (certificates / "ca.pem").read_bytes()


def test_an_address_is_taken_apart(tmp_path: Path) -> None:
    options = options_from_url("mqtt://me:p%40ss@broker.example:2883", "plant", None)
    secure = options_from_url("mqtts://broker.example", "plant", tmp_path)

    assert (options.host, options.port, options.username, options.password, options.tls) == ("broker.example", 2883, "me", "p@ss", None)
    assert (secure.port, secure.username, secure.tls is not None and secure.tls.ca) == (8883, None, tmp_path)
    assert options_from_url("mqtt://broker.example", "plant", None).port == 1883
    assert options.client_id == "plant_controller"


@pytest.mark.parametrize(
    "url",
    [
        "http://broker",
        "broker.example",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://broker:99999",
        "mqtt://broker:port",
        "mqtt://[::1",
        "mqtt://broker/path",
        "mqtt://broker?x=1",
        "mqtts://broker",
        "",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Rejected) as refused:
        options_from_url(url, "plant", None)

    assert refused.value.code == "broker-unknown"


def test_a_certificate_without_tls_is_refused_and_no_password_is_shown(tmp_path: Path) -> None:
    for url in ("mqtt://me:a-secret@broker", "mqttx://me:a-secret@broker"):
        with pytest.raises(Rejected) as refused:
            options_from_url(url, "plant", tmp_path)

        assert "a-secret" not in refused.value.reason.line()


def test_the_broker_may_come_from_the_environment(edgewright: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_BROKER", "nonsense")
    ran = edgewright("fleet", "serve", "--state", state, "--json")

    assert (ran.status, ran.code) == (1, "broker-unknown")
