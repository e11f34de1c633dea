"""``edgewright fleet dashboard``: the page, the REST interface and the metrics of a fleet, in a process of their own."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .fleet_state import fleet_database, fleet_paths, state_option
from .output import existing_path, json_option

if TYPE_CHECKING:
    from ..controller.paths import FleetPaths
    from ..controller.web.server import Tls


@click.command()
@state_option
@click.option("--listen", "address", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where to serve; port 0: any.")
@click.option("--tls-host", "tls_hosts", multiple=True, help="How browsers reach it: TLS by the fleet's own authority. Repeatable.")
@click.option("--tls-certificate", type=existing_path, help="Certificate chain of another authority, in PEM.")
@click.option("--tls-key", type=existing_path, help="The key of --tls-certificate.")
@click.option("--behind-proxy", "proxy", metavar="ADDRESS", help="Address of a proxy that does the TLS, and that tells who asks.")
@json_option
def dashboard(
    state: Path, address: str, tls_hosts: tuple[str, ...], tls_certificate: Path | None, tls_key: Path | None, proxy: str | None, as_json: bool
) -> int:
    """Serve the page of the fleet until it is stopped. It needs a token: edgewright fleet tokens create."""
    import msgspec

    from ..controller.keys import fleet_name
    from ..core.errors import Unfit

    paths = fleet_paths(state)
    try:
        from ..controller.web.app import build_app
        from ..controller.web.server import WebServer, parse_listen
        from ..controller.web.site import site_of
    except ImportError as error:
        raise Unfit("dashboard-missing", f"the page needs {error.name}", "pip install 'edgewright[dashboard]'") from error
    listen = parse_listen(address, _tls(paths, tls_hosts, tls_certificate, tls_key), proxy)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with fleet_database(paths) as database:
        site = site_of(database, paths, fleet_name(paths), time.time)
        with closing(WebServer(build_app(site), listen)) as server:
            if as_json:
                ready = {"ready": True, "fleet": site.fleet, "address": server.address}
                sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
                sys.stdout.flush()
            else:
                click.echo(f"{site.fleet} is at {server.address}; Ctrl-C stops it")
            server.run()
    return 0


def _tls(paths: FleetPaths, hosts: tuple[str, ...], certificate: Path | None, key: Path | None) -> Tls | None:
    """The certificate that was given, or one of the fleet's own authority for `hosts`.

    Raises:
        Unfit: ``authority-unreadable``.
    """
    import datetime as dt

    from ..controller.authority import SERVER_CERTIFICATE, SERVER_KEY, issue_server, make_authority
    from ..controller.keys import fleet_name
    from ..controller.web.server import Tls

    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together")
    if certificate is not None and key is not None:
        if hosts:
            raise click.UsageError("--tls-host makes a certificate: leave out --tls-certificate")
        return Tls(certificate, key)
    if not hosts:
        return None
    fleet, now = fleet_name(paths), dt.datetime.now(dt.timezone.utc)
    make_authority(paths, fleet, now)
    issue_server(paths, fleet, hosts, now, paths.web)
    return Tls(paths.web / SERVER_CERTIFICATE, paths.web / SERVER_KEY)
