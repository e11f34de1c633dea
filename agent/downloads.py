"""Drives one deployment's transfer: frames in, requests out, the two ends of each blob to a lane. One deployment downloads at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ..core.artifact import Artifact, Blob, walk_blobs
from ..core.errors import EdgewrightError, Reason
from ..core.wire.frames import decode_frame
from ..core.wire.messages import Order
from .inbox import Pace, Request, Transfer
from .lanes import Job, Lanes
from .logs import about
from .shortcuts import Way, ways_for
from .store import PartialBlob, Store

log = logging.getLogger(__name__)

Ended = Callable[[str, "Reason | None"], None]


class Downloads:
    """Owned by the daemon's loop. `ended` is told once per transfer: the model's name, and a reason when it failed. `given_up` is called when the
    disk is done with a blob that nobody waits for any more: it may be garbage now.
    """

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        ask: Callable[[Request], bool],
        ended: Ended,
        given_up: Callable[[], None],
        rebuild: Callable[[tuple[Way, ...], threading.Event], None],
        window: int,
        chunk_timeout_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._ask = ask
        self._ended = ended
        self._given_up = given_up
        self._rebuild = rebuild
        self._ways: tuple[Way, ...] = ()
        self._order: Order | None = None
        self._window = window
        self._chunk_timeout_s = chunk_timeout_s
        self._monotonic_s = monotonic_s
        self._model = ""
        self._transfer: Transfer | None = None
        # One blob at a time is opened or finished on the lane, also when its transfer was given up meanwhile: two on one file would spoil it.
        self._at_disk = ""

    @property
    def model(self) -> str:
        """Whose transfer is under way; empty when none is."""
        return self._model

    @property
    def at_disk(self) -> str:
        """The digest of the blob that a lane is reading or moving; not to be deleted. Empty when there is none."""
        return self._at_disk

    def progress(self, model: str) -> tuple[int, int]:
        """Bytes that are there, and bytes in all; zeros when this model is not downloading."""
        if self._transfer is None or model != self._model:
            return 0, 0
        return self._transfer.bytes_done, self._transfer.bytes_total

    def start(self, model: str, order: Order) -> None:
        """Begin with, or go on with, what `order` needs and the store does not have."""
        self._model, self._order = model, order
        self._ways = ways_for(order, self._store)
        self._begin([blob for way in self._ways for blob in way.blobs] or _blobs_of(order))

    def _begin(self, blobs: list[Blob]) -> None:
        pace = Pace(float(self._window), self._chunk_timeout_s, self._chunk_timeout_s)
        self._transfer = Transfer(self._store, tuple({blob.digest: blob for blob in blobs}.values()), pace)
        self.pump()

    def _go_whole_way(self) -> None:
        """What the shorter ways have not brought is fetched."""
        assert self._order is not None
        self._ways = ()
        self._begin(_blobs_of(self._order))

    def stop(self, model: str) -> None:
        """Give the transfer of `model` up, if it is the one under way; what has come stays on disk."""
        if self._transfer is not None and model == self._model:
            self._transfer.close()
            self._transfer, self._model = None, ""

    def link_lost(self) -> None:
        if self._transfer is not None:
            self._transfer.forget_requests()

    def frame(self, payload: bytes) -> None:
        """A payload of the blob topic. A malformed one is some other sender's, and is dropped."""
        if self._transfer is None:
            return
        try:
            frame = decode_frame(payload)
        except EdgewrightError as error:
            log.info("Dropped a frame: %s", error.reason.line())
            return
        try:
            self._transfer.take(frame, self._monotonic_s())
        except EdgewrightError as error:
            self._end(error.reason)
        except OSError as error:
            self._end(Reason("disk-failed", f"a chunk could not be written: {error}", "Check the disk of this device", "unfit"))
        else:
            self.pump()

    def pump(self) -> None:
        """Do what can be done now: open the next blob, ask for chunks, hand a whole blob over, notice the end."""
        transfer = self._transfer
        if transfer is None or self._at_disk:
            return
        if transfer.whole is not None:
            self._finish(transfer, transfer.whole)
        elif (blob := transfer.to_open()) is not None:
            self._open(transfer, blob)
        elif transfer.is_complete and self._ways:
            self._shorten(transfer, self._ways)
        elif transfer.is_complete:
            self._end(None)
        else:
            request = transfer.next_request(self._monotonic_s())
            if request is not None and not self._ask(request):
                transfer.forget_requests()

    def next_timeout_s(self) -> float | None:
        """When `pump` has to be called at the latest, on the monotonic clock."""
        return self._transfer.next_timeout_s if self._transfer is not None else None

    def _open(self, transfer: Transfer, blob: Blob) -> None:
        def done(partial: PartialBlob) -> None:
            if transfer is self._transfer:
                transfer.opened(partial)
            else:
                partial.close()

        self._on_disk(transfer, blob, Job(f"open {blob.digest[:12]}", lambda _cancel: self._store.open_partial(blob), done, lambda _: None))

    def _finish(self, transfer: Transfer, partial: PartialBlob) -> None:
        def done(_: None) -> None:
            if transfer is self._transfer:
                transfer.finished()
                self._ask(Request(partial.blob.digest, (), 0))

        self._on_disk(transfer, partial.blob, Job(f"finish {partial.blob.digest[:12]}", lambda _cancel: partial.finish(), done, lambda _: None))

    def _shorten(self, transfer: Transfer, ways: tuple[Way, ...]) -> None:
        def over() -> None:
            self._at_disk = ""
            if transfer is self._transfer:
                self._go_whole_way()
            else:
                self._go_on(transfer)

        def failed(reason: Reason) -> None:
            log.warning("%s: the shorter way leads nowhere: %s", self._model, reason.line(), extra=about(self._model, reason=reason))
            over()

        self._at_disk = ways[0].target.digest
        self._lanes.submit("short", Job("rebuild", lambda cancel: self._rebuild(ways, cancel), lambda _: over(), failed))

    def _on_disk(self, transfer: Transfer, blob: Blob, job: Job[Any]) -> None:
        """Run `job`, which has the blob's file for itself until it is over."""
        done = job.done

        def over(result: object) -> None:
            self._at_disk = ""
            done(result)
            self._go_on(transfer)

        def failed(reason: Reason) -> None:
            self._at_disk = ""
            if transfer is self._transfer:
                self._end(reason)
            else:
                self._go_on(transfer)

        job.done, job.failed = over, failed
        self._at_disk = blob.digest
        self._lanes.submit("short", job)

    def _go_on(self, transfer: Transfer) -> None:
        if transfer is not self._transfer:
            self._given_up()
        self.pump()

    def _end(self, reason: Reason | None) -> None:
        model, transfer = self._model, self._transfer
        assert transfer is not None
        facts = (*self.progress(model), transfer.requests, transfer.repeated)
        log.info("%s: %d of %d bytes, by %d requests, %d chunks asked for again", model, *facts, extra=about(model, reason=reason))
        if reason is not None:
            transfer.discard()
            if self._ways and reason.code not in {"disk-full", "disk-read-only", "disk-failed"}:
                log.warning("%s: the shorter way cannot be gone: %s", model, reason.line(), extra=about(model, reason=reason))
                self._go_whole_way()
                return
        self._transfer, self._model = None, ""
        self._ended(model, reason)


def _blobs_of(order: Order) -> list[Blob]:
    return [blob for artifact in artifacts(order) for blob in walk_blobs(artifact)]


def artifacts(order: Order) -> list[Artifact]:
    return [artifact for artifact in (order.model, order.calibration, order.evaluation) if artifact is not None]
