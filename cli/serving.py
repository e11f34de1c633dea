"""What ``fleet serve`` puts together: broker, database, service; and how they end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import msgspec

from ..controller.access import CONTROLLER_USER
from ..controller.blobs import BlobStore
from ..controller.broker import Kind, OwnBroker
from ..controller.database import Database
from ..controller.enrollment import Address, controller_password, write_address
from ..controller.keys import fleet_name, load_signer
from ..controller.orders import Orders
from ..controller.paths import FleetPaths
from ..controller.recorder import Recorder
from ..controller.service import Parts, Service
from ..core.errors import Faulty, Rejected, Unfit
from ..core.wire.link import LinkOptions, TlsFiles

KINDS: dict[str, Kind] = {"auto": "auto", "mosquitto": "mosquitto", "amqtt": "amqtt"}
CONNECT_S = 20.0
WATCH_S = 0.5


def serve_fleet(paths: FleetPaths, broker: str, port: int, ca: Path | None, *, as_json: bool) -> int:
    """Serve until SIGTERM or SIGINT; exits 0 then, 1 when the broker dies.

    Raises:
        EdgewrightError: it cannot start.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    if broker not in KINDS:
        return _serve(paths, _foreign(paths, broker, ca), None, as_json=as_json)
    controller_password(paths)
    with OwnBroker(paths, fleet_name(paths), KINDS[broker], port) as own:
        options = LinkOptions(
            host="127.0.0.1",
            port=own.port,
            client_id=f"{fleet_name(paths)}-{CONTROLLER_USER}",
            username=CONTROLLER_USER,
            password=controller_password(paths),
            reconnect_min_s=0.2,
            reconnect_max_s=5.0,
        )
        return _serve(paths, options, own, as_json=as_json)


def _foreign(paths: FleetPaths, url: str, ca: Path | None) -> LinkOptions:
    parts = urlsplit(url)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise Rejected("broker-unknown", f"{url!r} is no broker", "Use auto, mosquitto, amqtt or mqtt[s]://USER:PASSWORD@HOST:PORT")
    if parts.scheme == "mqtts" and ca is None:
        raise Rejected("broker-unknown", "an mqtts:// broker needs its CA certificate", "Give --ca FILE")
    return LinkOptions(
        host=parts.hostname,
        port=parts.port or (8883 if parts.scheme == "mqtts" else 1883),
        client_id=f"{fleet_name(paths)}-{CONTROLLER_USER}",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=TlsFiles(ca) if ca is not None and parts.scheme == "mqtts" else None,
    )


def _serve(paths: FleetPaths, options: LinkOptions, own: OwnBroker | None, *, as_json: bool) -> int:
    fleet = fleet_name(paths)
    write_address(paths, Address(options.host, options.port))
    database = Database(paths.database)
    parts = Parts(
        fleet=fleet,
        orders=Orders(database, fleet),
        recorder=Recorder(database),
        blobs=BlobStore(paths.blobs),
        sign=load_signer(paths),
        change_mark=database.change_mark,
    )
    service = Service(parts, options)
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    service.start()
    if not service.wait_until_up(CONNECT_S):
        service.stop()
        message = f"the broker at {options.host}:{options.port} does not let the controller in"
        raise Unfit("broker-unreachable", message, "Check its address, user and password")
    watcher = threading.Thread(target=_watch_broker, args=(own, stopped, service), daemon=True)
    watcher.start()
    kind = own.kind if own is not None else "given"
    if as_json:
        ready = {"ready": True, "fleet": fleet, "broker": kind, "host": options.host, "port": options.port}
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
        sys.stdout.flush()
    else:
        click.echo(f"serving {fleet} by {kind} at {options.host}:{options.port}; Ctrl-C stops it")
    service.run()
    database.close()
    if own is not None and own.has_died() and not stopped.is_set():
        raise Faulty("broker-died", f"the {own.kind} broker ended by itself", f"See {paths.broker / 'broker.log'}")
    return 0


def _watch_broker(own: OwnBroker | None, stopped: threading.Event, service: Service) -> None:
    """Tell our broker about new passwords; end with it."""
    while own is not None and not stopped.wait(WATCH_S):
        own.refresh()
        if own.has_died():
            service.stop()
            return
