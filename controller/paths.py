"""Where a fleet's controller keeps what it knows: one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Unfit


@dataclass(frozen=True, slots=True)
class FleetPaths:
    """The controller's state folder. `keys` and `devices` hold secrets and are closed to others."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "fleet.sqlite"

    @property
    def database_url(self) -> Path:
        """A file that holds the address of another database, and with it perhaps a password."""
        return self.keys / "database"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def web(self) -> Path:
        """The page's own certificate."""
        return self.root / "web"

    @property
    def passwords(self) -> Path:
        return self.broker / "passwords"

    @property
    def address(self) -> Path:
        """Where the serving process says how to reach its broker."""
        return self.broker / "address.json"

    def make(self) -> None:
        """Make the folders.

        Raises:
            Unfit: ``state-unusable``.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.blobs, self.trust):
                folder.mkdir(exist_ok=True)
            for folder in (self.keys, self.broker, self.web):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            message = f"the state folder {self.root} cannot be used: {error.strerror}"
            raise Unfit("state-unusable", message, "Give --state a folder that this user may write") from error
