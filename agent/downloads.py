"""Drives one deployment's transfer: frames in, requests out, finished blobs to a lane. One deployment downloads at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.artifact import Artifact, walk_blobs
from ..core.errors import EdgewrightError, Reason
from ..core.wire.frames import decode_frame
from ..core.wire.messages import Order
from .inbox import Pace, Request, Transfer
from .lanes import Job, Lanes
from .store import PartialBlob, Store

Ended = Callable[[str, "Reason | None"], None]


class Downloads:
    """Owned by the daemon's loop. `ended` is told once per transfer: the model's name, and a reason when it failed."""

    def __init__(self, store: Store, lanes: Lanes, ask: Callable[[Request], bool], ended: Ended, window: int, chunk_timeout_s: float) -> None:
        self._store = store
        self._lanes = lanes
        self._ask = ask
        self._ended = ended
        self._window = window
        self._chunk_timeout_s = chunk_timeout_s
        self._model = ""
        self._transfer: Transfer | None = None

    @property
    def model(self) -> str:
        """Whose transfer is under way; empty when none is."""
        return self._model

    def progress(self, model: str) -> tuple[int, int]:
        """Bytes that are there, and bytes in all; zeros when this model is not downloading."""
        if self._transfer is None or model != self._model:
            return 0, 0
        return self._transfer.bytes_done, self._transfer.bytes_total

    def start(self, model: str, order: Order) -> None:
        blobs = {blob.digest: blob for artifact in artifacts(order) for blob in walk_blobs(artifact)}
        self._model = model
        self._transfer = Transfer(self._store, tuple(blobs.values()), Pace(float(self._window), self._chunk_timeout_s, self._chunk_timeout_s))
        self.pump()

    def stop(self, model: str) -> None:
        """Give the transfer of `model` up, if it is the one under way; what has come stays on disk."""
        if self._transfer is not None and model == self._model:
            self._transfer.close()
            self._transfer, self._model = None, ""

    def link_lost(self) -> None:
        if self._transfer is not None:
            self._transfer.forget_requests()

    def frame(self, payload: bytes) -> None:
        """A payload of the blob topic."""
        if self._transfer is None:
            return
        try:
            self._transfer.take(decode_frame(payload), time.monotonic())
        except EdgewrightError as error:
            # A malformed frame is some other sender's; only what the transfer itself refuses ends it.
            if not error.code.startswith("frame-"):
                self._end(error.reason)
            return
        self.pump()

    def pump(self) -> None:
        """Ask for what may be asked for, hand a complete blob over, notice the end."""
        transfer = self._transfer
        if transfer is None:
            return
        try:
            for request in transfer.next_requests(time.monotonic()):
                if not self._ask(request):
                    transfer.forget_requests()
                    return
        except EdgewrightError as error:
            self._end(error.reason)
            return
        if transfer.finishing is not None:
            self._finish(transfer, transfer.finishing)
        elif transfer.is_complete:
            self._end(None)

    def next_timeout_s(self) -> float | None:
        """When `pump` has to be called at the latest, on the monotonic clock."""
        return self._transfer.next_timeout_s if self._transfer is not None else None

    def _finish(self, transfer: Transfer, partial: PartialBlob) -> None:
        if partial.is_handed_over:
            return
        partial.is_handed_over = True

        def done(_: None) -> None:
            if transfer is self._transfer:
                transfer.finished()
                self.pump()

        def failed(reason: Reason) -> None:
            if transfer is self._transfer:
                self._end(reason)

        self._lanes.submit("short", Job(f"finish {partial.blob.digest[:12]}", lambda _cancel: partial.finish(), done, failed))

    def _end(self, reason: Reason | None) -> None:
        model = self._model
        self.stop(model)
        self._ended(model, reason)


def artifacts(order: Order) -> list[Artifact]:
    return [artifact for artifact in (order.model, order.calibration, order.evaluation) if artifact is not None]
