"""How soon the page of a large fleet is seen: a real browser, the page's own process, a database that the product has written.

Parts: ``paint`` (first and first contentful paint by the browser's own clock, over several loads of each page) and ``pictures`` (what docs/ shows).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from edgewright.controller.database import Database
from edgewright.controller.keys import init_keys
from edgewright.controller.paths import FleetPaths
from edgewright.controller.tokens import Tokens
from sample_fleet import FLEET, SampleFleet

ROOT = Path(__file__).resolve().parents[1]
MARK_MS = 1500
PAINTS = "return performance.getEntriesByType('paint').map(e => [e.name, e.startTime])"
FIRST_BYTE = "return performance.getEntriesByType('navigation')[0].responseStart"


def browser_module() -> Any:
    """The tests' own way to a browser."""
    spec = importlib.util.spec_from_file_location("edgewright_fakes_browser", ROOT / "tests" / "fakes" / "browser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_fleet(paths: FleetPaths, devices: int) -> str:
    """Build it; returns a token to look at it with."""
    paths.make()
    init_keys(paths, FLEET, datetime.now(timezone.utc))
    with closing(Database(paths.database)) as database:
        began_s = time.monotonic()
        SampleFleet(database, devices, time.time()).build()
        print(f"{devices} devices took {time.monotonic() - began_s:.0f} s to build", file=sys.stderr)
        return Tokens(database).create("maria", "admin", "user:maria", time.time())


@contextmanager
def dashboard(state: Path) -> Any:
    """The page's process; its address."""
    command = [sys.executable, "-Im", "edgewright.cli.main", "fleet", "dashboard", "--listen", "127.0.0.1:0", "--state", str(state), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["address"], process.pid
    finally:
        process.terminate()
        process.wait(20)


def paint(driver: Any, browser: Any, address: str, token: str, places: dict[str, str], loads: int) -> dict[str, Any]:
    """Each page loaded `loads` times, in turns; nothing of a page is kept but the style sheet and the script, as with a reader."""
    browser.view(driver, 1280, 900)
    browser.log_in(driver, address, token)
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in places}
    for _ in range(loads):
        for name, place in places.items():
            driver.get("about:blank")
            driver.get(address + place)
            paints = dict(browser_wait(driver))
            seen[name].append({**paints, "first-byte": driver.execute_script(FIRST_BYTE)})
    return {name: _summed(rows) for name, rows in seen.items()}


def browser_wait(driver: Any) -> list[list[Any]]:
    """The paint entries, as soon as there are both."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 20, poll_frequency=0.02).until(lambda found: len(entries := found.execute_script(PAINTS)) >= 2 and entries)


def _summed(rows: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name.replace("-", "_") + "_ms": {"median": median(values := sorted(row[name] for row in rows)), "min": values[0], "max": values[-1]}
        for name in rows[0]
    }


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def pictures(driver: Any, browser: Any, address: str, token: str, out: Path) -> list[str]:
    """What docs/ shows, as small PNG files."""
    from PIL import Image

    rollout = asked(address, token, "/api/v1/rollouts?limit=1")["rollouts"][0]["rollout"]
    device = updated_device(address, token, rollout)
    shots = {
        "overview": ("/", 1280, 985, {}),
        "device": (f"/devices/{device}", 1280, 1460, {}),
        "rollout": (f"/rollouts/{rollout}", 1280, 1310, {}),
        "rollout-dark": (f"/rollouts/{rollout}", 1280, 1310, {"is_dark": True}),
        "phone": ("/", 390, 1180, {"is_phone": True}),
    }
    out.mkdir(parents=True, exist_ok=True)
    browser.view(driver, 1280, 900)
    browser.log_in(driver, address, token)
    for name, (place, width, height, options) in shots.items():
        browser.view(driver, width, height, **options)
        driver.get(address + place)
        path = out / f"{name}.png"
        driver.save_screenshot(str(path))
        Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return list(shots)


def updated_device(address: str, token: str, rollout: str) -> str:
    """The first device that has the latest model, measured the one before as well, and has a power sensor."""
    names = [member["device"] for member in asked(address, token, f"/api/v1/rollouts/{rollout}/members?state=SUCCEEDED&limit=100")["members"]]
    jetsons = [name for name in names if "Jetson" in asked(address, token, f"/api/v1/devices/{name}")["hardware_class"]]
    return next(name for name in jetsons if len(asked(address, token, f"/api/v1/measurements?device={name}")["measurements"]) > 1)


def asked(address: str, token: str, place: str) -> Any:
    request = urllib.request.Request(address + place, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=["paint", "pictures"], default="paint")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=9)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--state", type=Path, help="a folder to keep the fleet in; one that is there is used again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    browser = browser_module()
    if (why := browser.missing()) is not None:
        sys.exit(why)
    with tempfile.TemporaryDirectory() as folder:
        paths = FleetPaths((options.state or Path(folder) / "state").resolve())
        if paths.database.exists():
            with closing(Database(paths.database)) as database:
                token = Tokens(database).create("maria", "admin", "user:maria", time.time())
        else:
            token = make_fleet(paths, options.devices)
        with dashboard(paths.root) as (address, pid), browser.open_browser(Path(folder)) as driver:
            if options.part == "pictures":
                print(" ".join(pictures(driver, browser, address, token, options.out)))
                return
            overview = asked(address, token, "/api/v1/overview")
            rollout = asked(address, token, "/api/v1/rollouts?limit=1")["rollouts"][0]["rollout"]
            places = {
                "overview": "/",
                "devices": "/devices",
                "devices, searched": "/devices?text=nano&presence=online",
                "device": f"/devices/{updated_device(address, token, rollout)}",
                "rollout": f"/rollouts/{rollout}",
            }
            pages = paint(driver, browser, address, token, places, options.loads)
            result = {
                "devices": overview["devices"],
                "loads": options.loads,
                "mark_ms": MARK_MS,
                "pages": pages,
                "peak_memory_mb": memory_mb(pid),
                "conditions": {"python": platform.python_version(), "cores": os.cpu_count(), "browser": driver.capabilities["browserVersion"]},
            }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['devices']} devices, {options.loads} loads of each page, Chromium {result['conditions']['browser']}, {os.cpu_count()} cores")
    for name, figures in pages.items():
        words = ", ".join(
            f"{key[:-3].replace('_', ' ')} {value['median']:.0f} ms ({value['min']:.0f} to {value['max']:.0f})" for key, value in figures.items()
        )
        print(f"{name}: {words}")
    print(f"the page's process at its peak: {result['peak_memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()
