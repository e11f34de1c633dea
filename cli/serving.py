"""What ``fleet serve`` puts together: broker, database, service; and how they end."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import msgspec

from ..controller.access import CONTROLLER_USER, mosquitto_acl
from ..controller.authority import CA_NAME
from ..controller.banishment import Banishment
from ..controller.blobs import BlobStore
from ..controller.broadcast import MIN_DEVICES
from ..controller.broker import ACL_NAME, Kind, OwnBroker, TlsListener
from ..controller.conductor import Conductor
from ..controller.database import Database, place_of
from ..controller.demand import Demand
from ..controller.enrollment import Address, controller_password, write_address
from ..controller.keys import fleet_name
from ..controller.leases import Alone, Leases
from ..controller.orders import Orders
from ..controller.paths import FleetPaths
from ..controller.recorder import Recorder
from ..controller.renewals import Renewals
from ..controller.service import Parts, Service
from ..controller.signing import Signing
from ..core.errors import Faulty, Rejected, Unfit
from ..core.files import write_atomic
from ..core.wire.link import LinkOptions, TlsFiles
from ..core.wire.topics import client_id

KINDS: dict[str, Kind] = {"auto": "auto", "mosquitto": "mosquitto", "amqtt": "amqtt"}
CONNECT_S = 20.0


class _Stop:
    """Set by SIGTERM and SIGINT, from the beginning to the end: a signal while the broker starts must end it too."""

    def __init__(self) -> None:
        self.is_set = False

    def __enter__(self) -> _Stop:  # noqa: PYI034 - Self is not in Python 3.10's typing
        self._before = {number: signal.signal(number, self._set) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _set(self, *_: object) -> None:
        self.is_set = True


def serve_fleet(paths: FleetPaths, broker: str, port: int, ca: Path | None, tls: TlsListener | None, *, as_json: bool) -> int:
    """Serve until SIGTERM or SIGINT; exits 0 then.

    Raises:
        EdgewrightError: it cannot start, or its broker has died.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # A database on a server may have several processes, and each its own broker only where it starts one.
    is_shared = broker not in KINDS and isinstance(place_of(paths), str)
    with _Stop() as stop, contextlib.nullcontext() if is_shared else _only_server(paths):
        write_atomic(paths.broker / ACL_NAME, mosquitto_acl(fleet_name(paths)).encode(), mode=0o600)  # for a broker that is not ours, too
        if broker not in KINDS:
            if tls is not None:
                raise Rejected("broker-unknown", "--tls-port is for our own broker", "Let the given broker have its own TLS listener")
            options = options_from_url(broker, fleet_name(paths), ca)
            write_address(paths, Address(options.host, options.port, None if options.tls is None else str(options.tls.ca.resolve())))
            return _serve(paths, options, None, stop, as_json=as_json)
        password = controller_password(paths)
        with OwnBroker(paths, fleet_name(paths), KINDS[broker], port, tls) as own:
            options = LinkOptions(
                host="127.0.0.1",
                port=own.port,
                client_id=client_id(fleet_name(paths), CONTROLLER_USER),
                username=CONTROLLER_USER,
                password=password,
                reconnect_min_s=0.2,
                reconnect_max_s=5.0,
            )
            if tls is None:
                write_address(paths, Address(options.host, options.port))
            else:
                write_address(paths, Address(tls.hosts[0], tls.port, str((paths.trust / CA_NAME).resolve()), has_certificates=True))
            return _serve(paths, options, own, stop, as_json=as_json)


def options_from_url(url: str, fleet: str, ca: Path | None) -> LinkOptions:
    """How to reach a broker that is not ours.

    Raises:
        Rejected: ``broker-unknown``.
    """
    hint = "Use auto, mosquitto, amqtt or mqtt[s]://USER:PASSWORD@HOST:PORT"
    try:
        parts = urlsplit(url)
        host, port, is_tls = parts.hostname, parts.port, parts.scheme == "mqtts"
    except ValueError as error:
        raise Rejected("broker-unknown", f"the broker's address is wrong: {error}", hint) from error
    if parts.scheme not in {"mqtt", "mqtts"} or not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise Rejected("broker-unknown", "the broker's address is not understood", hint)  # it may hold a password
    if is_tls != (ca is not None):
        message = "an mqtts:// broker needs its CA certificate" if is_tls else "--ca goes with an mqtts:// broker only"
        raise Rejected("broker-unknown", message, "Give --ca FILE, or drop it")
    return LinkOptions(
        host=host,
        port=port or (8883 if is_tls else 1883),
        client_id=client_id(fleet, CONTROLLER_USER),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=None if ca is None else TlsFiles(ca),
    )


def _serve(paths: FleetPaths, options: LinkOptions, own: OwnBroker | None, stop: _Stop, *, as_json: bool) -> int:
    fleet = fleet_name(paths)
    with contextlib.closing(Database(place_of(paths))) as database:
        orders = Orders(database, fleet)
        parts = Parts(
            fleet=fleet,
            orders=orders,
            conductor=Conductor(database, orders),
            recorder=Recorder(database),
            blobs=BlobStore(paths.blobs),
            signing=Signing(paths),
            change_mark=database.change_mark,
            demand=Demand(database, MIN_DEVICES),
            sharing=Alone() if database.is_sqlite else Leases(database),
        )
        with contextlib.closing(Service(parts, options)) as service:
            service.start()
            deadline = time.monotonic() + CONNECT_S
            service.run(lambda: stop.is_set or service.is_up or service.problem is not None or _has_died(own) or time.monotonic() > deadline)
            if not stop.is_set and not _has_died(own):
                _check_up(service, options)
                _say_ready(fleet, options, own, as_json=as_json)
                banishment = Banishment(paths, fleet, options) if own is not None else None
                renewals = Renewals(paths, fleet, orders)
                service.run(lambda: stop.is_set or _has_died(own, banishment, renewals))
            if own is not None and own.has_died() and not stop.is_set:
                raise Faulty("broker-died", f"the {own.kind} broker ended by itself", f"See {paths.broker / 'broker.log'}")
    return 0


def _has_died(own: OwnBroker | None, banishment: Banishment | None = None, renewals: Renewals | None = None) -> bool:
    """Whether our broker is gone; with `banishment` and `renewals`, what has changed about who may connect is done as well."""
    if renewals is not None:
        renewals.look(time.time())
    if own is None:
        return False
    if banishment is not None:
        own.refresh()
        banishment.look()
    return own.has_died()


def _check_up(service: Service, options: LinkOptions) -> None:
    if service.problem is not None:
        raise Unfit(service.problem.code, service.problem.message, service.problem.next)
    if not service.is_up:
        message = f"the broker at {options.host}:{options.port} does not answer"
        raise Unfit("broker-unreachable", message, "Check its address, its certificate, and that it runs")


def _say_ready(fleet: str, options: LinkOptions, own: OwnBroker | None, *, as_json: bool) -> None:
    kind = own.kind if own is not None else "given"
    if as_json:
        # One line: who started us reads it while we go on.
        ready = {"ready": True, "fleet": fleet, "broker": kind, "host": options.host, "port": options.port}
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
        sys.stdout.flush()
    else:
        click.echo(f"serving {fleet} by {kind} at {options.host}:{options.port}; Ctrl-C stops it")


@contextlib.contextmanager
def _only_server(paths: FleetPaths) -> Iterator[None]:
    """Hold the state folder against a second server, whose broker and messages would mix with ours.

    Raises:
        Unfit: ``fleet-served``.
    """
    descriptor = os.open(paths.broker / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unfit("fleet-served", f"another process serves {paths.root}", "Stop it, or use another --state") from None
        yield
    finally:
        os.close(descriptor)
