"""A real headless Chromium for tests and pictures of pages: it speaks to loopback alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 20.0
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def missing() -> str | None:
    """Why there is no browser here, in words for a skip."""
    try:
        import selenium  # noqa: F401 - looked for only
    except ImportError:
        return "pip install 'edgewright[dev]' brings selenium"
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "no Chromium here: apt-get install chromium chromium-driver"
    return None


@contextmanager
def open_browser(folder: Path) -> Iterator[Any]:
    """A browser with an empty profile below `folder`; it ends on leaving."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver"), log_output=os.devnull))
    try:
        driver.set_page_load_timeout(WAIT_S)
        yield driver
    finally:
        driver.quit()


def view(driver: Any, width: int, height: int, *, is_dark: bool = False, is_phone: bool = False, scale: float = 1.0) -> None:
    """The window as a reader has it."""
    sizes = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)


def log_in(driver: Any, address: str, token: str) -> None:
    """Type the token into the form, as a person does."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(f"{address}/login")
    field = driver.find_element(By.NAME, "token")
    field.send_keys(token)
    field.submit()
    WebDriverWait(driver, WAIT_S).until(lambda found: "/login" not in found.current_url)


def complaints(driver: Any) -> list[str]:
    """What the browser's console says went wrong: refused scripts and styles among it."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]
