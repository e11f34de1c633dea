"""Certificates against a real Mosquitto: who gets in, what they may do there, and who is put out."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from edgewright.controller import authority
from edgewright.controller.banishment import Banishment
from edgewright.controller.broker import OwnBroker, TlsListener, free_port
from edgewright.controller.database import Database
from edgewright.controller.enrollment import Address, controller_password, enroll, renew, take_access
from edgewright.controller.keys import init_keys
from edgewright.controller.orders import Orders
from edgewright.controller.paths import FleetPaths
from edgewright.core.errors import Rejected, Unfit
from edgewright.core.wire.link import Link, LinkOptions, TlsFiles
from edgewright.core.wire.topics import FROM_DEVICE, topic

NOW = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
FLEET = "plant"


class Site:
    """A fleet with its own broker, that devices reach by certificates; `folder` takes what is enrolled."""

    def __init__(self, folder: Path, mqtt, fleet: str = FLEET) -> None:
        mqtt.skip_unless_installed("mosquitto")
        self.mqtt, self.folder, self.fleet = mqtt, folder, fleet
        self.paths = FleetPaths(folder / "state")
        init_keys(self.paths, fleet, NOW)
        self.database = Database(self.paths.database)
        self.orders = Orders(self.database, fleet)
        self.port = free_port()
        self.broker = OwnBroker(self.paths, fleet, "mosquitto", tls=TlsListener(self.port, ("127.0.0.1", "localhost"), "127.0.0.1"))
        password = controller_password(self.paths)
        self.broker.start()
        self.options = LinkOptions("127.0.0.1", self.broker.port, "controller", "controller", password)
        self.clients = []

    def enroll(self, name: str, out: str | None = None) -> TlsFiles:
        folder = self.folder / (out or name)
        ca = str(self.paths.trust / authority.CA_NAME)
        enroll(self.paths, self.orders, self.fleet, name, folder, Address("127.0.0.1", self.port, ca, has_certificates=True))
        return TlsFiles(folder / "broker-ca.pem", folder / "device.pem", folder / "device.key")

    def connect(self, files: TlsFiles, client_id: str = ""):
        client = self.mqtt.Client(self.port, "", tls=files, client_id=client_id)
        self.clients.append(client)
        return client

    def controller(self):
        client = self.mqtt.Client(self.broker.port, "controller", password=self.options.password)
        self.clients.append(client)
        return client

    def until_refused(self, files: TlsFiles) -> None:
        """A broker's reload shows by its effect alone."""
        self.broker.refresh()
        for _ in range(200):
            if not self.connect(files).is_in:
                return
        raise AssertionError("it still gets in")

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.broker.stop()
        self.database.close()


@pytest.fixture
def site(tmp_path, mqtt):
    with closing(Site(tmp_path / FLEET, mqtt)) as site:
        yield site


def on(device: str, channel, fleet: str = FLEET) -> str:
    return topic(fleet, device, channel)


def test_an_enrolled_device_gets_in_and_says_what_devices_say(site):
    device, controller = site.connect(site.enroll("board-1")), site.controller()
    controller.subscribe(f"ew/v1/{FLEET}/#")
    for channel in FROM_DEVICE:
        device.publish(on("board-1", channel), channel.encode())

    for channel in FROM_DEVICE:
        controller.until_heard(on("board-1", channel), channel.encode())


def test_a_device_hears_what_is_said_to_it_and_nothing_else(site):
    device, controller = site.connect(site.enroll("board-1")), site.controller()
    device.subscribe(on("board-1", "desired"), on("board-2", "desired"), on("board-2", "reported"), f"ew/v1/{FLEET}/+/desired", "#")
    for name in (on("board-2", "desired"), on("board-2", "reported"), on("board-1", "desired")):
        controller.publish(name, b"x")
    device.until_heard(on("board-1", "desired"), b"x")

    assert {entry.topic for entry in device.heard} == {on("board-1", "desired")}


def test_a_device_cannot_publish_orders_chunks_or_in_anothers_name(site):
    device, controller = site.connect(site.enroll("board-1")), site.controller()
    controller.subscribe(f"ew/v1/{FLEET}/#", "ew/v1/other/#")
    forbidden = [on("board-1", "desired"), on("board-1", "blob"), on("board-1", "command"), on("board-2", "status"), on("board-1", "status", "other")]
    for name in forbidden:
        device.publish(name, b"forged")
    device.publish(on("board-1", "event"), b"last")
    controller.until_heard(on("board-1", "event"), b"last")

    assert [entry.topic for entry in controller.heard] == [on("board-1", "event")]


def test_who_has_no_certificate_does_not_get_in(site):
    files = site.enroll("board-1")

    assert not site.connect(TlsFiles(files.ca)).is_in


def test_a_device_of_the_same_name_of_another_fleet_does_not_get_in(site, tmp_path, mqtt):
    with closing(Site(tmp_path / "other", mqtt, "other")) as other:
        files, mine = other.enroll("board-1"), site.enroll("board-1")

        assert other.connect(files).is_in
        assert not site.connect(TlsFiles(mine.ca, files.certificate, files.key)).is_in


def test_a_device_does_not_talk_to_a_broker_of_another_authority(site, tmp_path, mqtt):
    with closing(Site(tmp_path / "other", mqtt, "other")) as other:
        files = other.enroll("board-1")
        with pytest.raises(ssl.SSLCertVerificationError):
            site.connect(files)


def test_a_revoked_device_does_not_get_in_again_and_its_connection_ends(site):
    files = site.enroll("board-1")
    device = site.connect(files, client_id=f"{FLEET}_board-1")
    banishment = Banishment(site.paths, FLEET, site.options)
    take_access(site.paths, "board-1", site.orders.certificates("board-1"))
    site.until_refused(files)
    assert device.is_in
    while not banishment.look():
        pass
    device.until(lambda: device.is_down)

    assert not site.connect(files).is_in


def test_what_the_broker_retains_of_a_banished_device_is_taken_back(site):
    files = site.enroll("board-1")
    device = site.connect(files, client_id=f"{FLEET}_board-1")
    controller = site.controller()
    controller.subscribe(on("board-1", "reported"))
    device.publish(on("board-1", "reported"), b"{}", retain=True)
    controller.until_heard(on("board-1", "reported"), b"{}")
    banishment = Banishment(site.paths, FLEET, site.options)
    take_access(site.paths, "board-1", site.orders.certificates("board-1"))
    site.until_refused(files)
    while not banishment.look():
        pass

    listener = site.controller()
    listener.subscribe(on("board-1", "reported"), on("board-1", "event"))
    listener.publish(on("board-1", "event"), b"last")
    listener.until_heard(on("board-1", "event"), b"last")
    assert [entry.topic for entry in listener.heard] == [on("board-1", "event")]


def test_a_reissued_certificate_is_good_with_the_key_that_the_device_has(site):
    files = site.enroll("board-1")
    issued = authority.reissue(site.paths, FLEET, "board-1", files.certificate.read_bytes(), NOW)
    later = site.folder / "later.pem"
    later.write_bytes(issued.certificate)

    assert site.connect(TlsFiles(files.ca, later, files.key)).is_in
    assert issued.serial not in site.orders.certificates("board-1")


def test_a_link_logs_in_with_a_later_certificate_from_its_next_connection_on(site):
    files = site.enroll("board-1")
    issued = authority.reissue(site.paths, FLEET, "board-1", files.certificate.read_bytes(), NOW)
    later = site.folder / "later.pem"
    later.write_bytes(issued.certificate)
    (old,) = site.orders.certificates("board-1")
    authority.revoke(site.paths, old, NOW)
    site.until_refused(files)
    handler = site.mqtt.RecordingHandler()
    options = LinkOptions("127.0.0.1", site.port, f"{FLEET}_board-1", tls=files, reconnect_min_s=0.05, reconnect_max_s=0.1)
    link = Link(options, handler, [])
    link.start()
    try:
        assert handler.ups == 0
        link.use_certificate(later, files.key)
        handler.until(lambda: handler.ups == 1)
    finally:
        link.stop()


def test_a_revoked_device_does_not_get_in_with_what_it_had_before_a_renewal(site):
    old = site.enroll("board-1")
    renew(site.paths, site.orders, FLEET, "board-1", site.folder / "new")
    new = TlsFiles(old.ca, site.folder / "new" / "device.pem", site.folder / "new" / "device.key")
    take_access(site.paths, "board-1", site.orders.certificates("board-1"))
    site.until_refused(new)

    assert not site.connect(old).is_in


def test_others_stay_when_one_is_revoked(site):
    first, second = site.enroll("board-1"), site.enroll("board-2")
    take_access(site.paths, "board-1", site.orders.certificates("board-1"))
    site.until_refused(first)

    assert site.connect(second).is_in


def test_a_replaced_device_gets_in_and_the_one_before_does_not(site):
    before = site.enroll("board-1", "before")
    after = site.enroll("board-1", "after")
    site.until_refused(before)

    assert site.connect(after).is_in


def test_a_renewed_certificate_is_good_and_so_is_the_old_one_until_it_expires(site):
    old = site.enroll("board-1")
    renew(site.paths, site.orders, FLEET, "board-1", site.folder / "new")
    new = TlsFiles(old.ca, site.folder / "new" / "device.pem", site.folder / "new" / "device.key")

    assert site.connect(new).is_in
    assert site.connect(old).is_in


def test_an_expired_certificate_does_not_get_in(site, tmp_path):
    files = site.enroll("board-1")
    expired = authority.issue_client(site.paths, FLEET, "board-1", NOW - dt.timedelta(days=400))
    (tmp_path / "old.pem").write_bytes(expired.certificate)
    (tmp_path / "old.key").write_bytes(expired.key)

    assert not site.connect(TlsFiles(files.ca, tmp_path / "old.pem", tmp_path / "old.key")).is_in


def test_a_name_cannot_be_the_controllers(site):
    with pytest.raises(Rejected) as caught:
        site.enroll("controller")

    assert caught.value.code == "bad-name"


def test_every_secret_file_is_closed_to_others(site):
    site.enroll("board-1")
    secret = [
        path for path in site.folder.rglob("*") if path.suffix in {".key", ".password"} or (path.suffix == ".pem" and path.parent.name == "keys")
    ]
    secret += [site.paths.passwords, site.paths.broker / "acl"]

    assert len(secret) >= 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert all(b"PRIVATE KEY" not in path.read_bytes() for path in site.folder.rglob("*") if path.is_file() and path not in secret)


def test_the_brokers_certificate_is_made_anew_before_it_expires_and_for_other_hosts(paths):
    authority.make_authority(paths, FLEET, NOW)

    def issued(hosts, later_days=0):
        authority.issue_server(paths, FLEET, hosts, NOW + dt.timedelta(days=later_days))
        return x509.load_pem_x509_certificate((paths.broker / "server.pem").read_bytes()).serial_number

    first = issued(("a.example",))

    assert issued(("a.example",)) == first
    assert issued(("a.example", "10.0.0.1")) != first
    second = issued(("a.example",))
    assert issued(("a.example",), authority.SERVER_DAYS - authority.RENEW_DAYS - 1) == second
    assert issued(("a.example",), authority.SERVER_DAYS - authority.RENEW_DAYS) != second


def test_an_authority_that_is_gone_is_told(paths):
    authority.make_authority(paths, FLEET, NOW)
    (paths.keys / authority.CA_KEY).unlink()
    with pytest.raises(Unfit) as caught:
        authority.issue_client(paths, FLEET, "board-1", NOW)

    assert caught.value.code == "authority-unreadable"


def test_the_embedded_broker_says_that_it_has_no_tls(paths):
    with pytest.raises(Unfit) as caught:
        OwnBroker(paths, FLEET, "amqtt", tls=TlsListener(1, ("a",)))

    assert caught.value.code == "broker-tls-needs-mosquitto"
