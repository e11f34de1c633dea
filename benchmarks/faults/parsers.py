"""Every parser of something that comes from outside, with a few good inputs to begin with: messages, chunks, manifests, cards, datasets, pictures,
ONNX files, deltas, readings of drivers, saved state. A parser answers or raises one of the program's own errors; anything else is a fault.
"""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from edgewright.core.errors import EdgewrightError

HANG_S = 20.0
HANG_TICKS = 20
MAX_BYTES = 4096
_NAMES = ("", "\x00", "v", "models", "fleet", "-1", "1e999", "null", "[[[[", "{}", "NaN", "\\u0000", "9" * 30, "../..", "é")
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Parser:
    """`parse` takes bytes; `seeds` are inputs that it takes, to be spoilt."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


class Place:
    """A file that inputs are written into, for parsers that read files. On a tmpfs where there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def parse(data: bytes) -> object:
            with path.open("wb") as file:
                file.write(data)
            return read(path)

        return parse


@contextmanager
def all_parsers() -> Iterator[dict[str, Parser]]:
    """By name."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="edgewright-fuzz-", dir=shm if shm.is_dir() else None) as folder:
        place = Place(Path(folder))
        yield {**_messages(), **_binaries(place), **_texts(place), **_datasets(place), **_state(place)}


def _messages() -> dict[str, Parser]:
    from edgewright.core.trust import seal
    from edgewright.core.wire import messages as wire
    from edgewright.core.wire.topics import parse_topic

    blob = {"digest": "a" * 64, "size_bytes": 100}
    order = {"deployment": "d1", "version": "1", "model": {"files": {"model.onnx": blob}}, "model_file": "model.onnx"}
    order["shortcuts"] = {"a" * 64: {"recipe": blob, "deltas": [{"base": "b" * 64, "blob": blob}]}}
    desired = msgspec.convert({"fleet": "f", "device": "d", "sequence": 1, "issued_s": 1.0, "expires_s": 2.0, "models": {"m": order}}, wire.Desired)
    command = wire.Command(fleet="f", device="d", sequence=1, issued_s=1.0, expires_s=2.0, id="c1", verb="cancel", deployment="d1")
    event = wire.Event(fleet="f", device="d", id="d-1", sequence=1, deployment="d1", model="m", attempt=1, state="OFFERED", time_s=1.0)
    status = wire.Status(fleet="f", device="d", online=True, boot_id="b", session=1, agent_version="1")
    capabilities = wire.Capabilities(fleet="f", device="d", board="b", machine="m", agent_version="1", memory_mb=1, cores=1)
    reported = wire.Reported(
        fleet="f", device="d", session=1, desired_sequence=1, time_s=1.0, models={"m": wire.ModelReport(active=None, previous=None, trial=None)}
    )
    get = wire.Get(fleet="f", device="d", digest="a" * 64, ranges=((0, 3),), window=8)
    kinds: dict[str, tuple[type[Any], Any]] = {
        "message desired": (wire.Desired, desired),
        "message command": (wire.Command, command),
        "message event": (wire.Event, event),
        "message status": (wire.Status, status),
        "message capabilities": (wire.Capabilities, capabilities),
        "message reported": (wire.Reported, reported),
        "message telemetry": (wire.Telemetry, wire.Telemetry(fleet="f", device="d", time_s=1.0, uptime_s=2.0)),
        "message get": (wire.Get, get),
        "message reply": (wire.Reply, wire.Reply(fleet="f", device="d", id="c", sequence=1, ok=True)),
        "message profile": (wire.ProfilePart, wire.ProfilePart(fleet="f", device="d", command="c", part=0, parts=1, data=b"x")),
        "message envelope": (wire.Envelope, seal(desired, lambda _: ("k", "00"))),
    }

    def decoder(kind: type[Any]) -> Callable[[bytes], object]:
        def parse(data: bytes) -> object:
            message = wire.decode(data, kind)
            return wire.check_desired(message) if isinstance(message, wire.Desired) else message

        return parse

    found = {name: Parser(decoder(kind), (wire.encode(value),)) for name, (kind, value) in kinds.items()}
    found["topic"] = Parser(
        lambda data: parse_topic(data.decode("utf-8", "replace")), (b"ew/v1/fleet/device/event", b"ew/v1/fleet/_all/blob/" + b"a" * 64)
    )
    return found


def _binaries(place: Place) -> dict[str, Parser]:
    import onnx
    from edgewright.compression.codec.container import decode_model, encode_model
    from edgewright.core.delta.codec import MAGIC as DELTA
    from edgewright.core.delta.codec import Copy, Data, Delta, Words, apply_delta
    from edgewright.core.delta.recipe import MAGIC as RECIPE
    from edgewright.core.delta.recipe import fill
    from edgewright.core.delta.tensors import find_weights
    from edgewright.core.profile import decode_report
    from edgewright.core.wire.frames import decode_frame, encode_chunk, encode_unknown_blob
    from edgewright.engines.model import read_model

    weights = onnx.numpy_helper.from_array(np.arange(80, dtype=np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [80])],
        [onnx.helper.make_tensor_value_info("y", 1, [80])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    base = place.of("base", lambda path: path)(bytes(100))
    import zstandard

    planes = msgspec.msgpack.encode([zstandard.ZstdCompressor().compress(b"xy")] * 4)
    packed = zstandard.ZstdCompressor().compress(b"0123456789")
    delta = DELTA + msgspec.msgpack.encode(Delta(100, 26, [Copy(0, 8), Data(10, packed), Words(0, 8, 4, planes)]))
    recipe = RECIPE + bytes(16) + struct.pack("<I", 50) + bytes(16) + struct.pack("<I", 50)
    sources = [base]
    return {
        "chunk frame": Parser(decode_frame, (encode_chunk("a" * 64, 3, b"data"), encode_unknown_blob("a" * 64))),
        "onnx": Parser(place.of("model.onnx", read_model), (model.SerializeToString(),)),
        "onnx weights": Parser(find_weights, (model.SerializeToString(),)),
        "coded model": Parser(decode_model, (encode_model(model),)),
        "delta": Parser(place.of("delta", lambda path: apply_delta(base, path.read_bytes(), path.with_name("out"), 26)), (delta,)),  # type: ignore[arg-type]
        "recipe": Parser(place.of("recipe", lambda path: fill(path.with_name("filled"), path.read_bytes(), sources, 100)), (recipe,)),  # type: ignore[arg-type]
        "profile": Parser(decode_report, (b'{"command": "c", "reason": {"code": "x", "message": "y", "next": "z"}}',)),
    }


CARD = b"""
[inputs.input]
kind = "image"
color = "RGB"
layout = "NCHW"
size = [8, 8]
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
[task]
kind = "classification"
output = "logits"
"""
CONFIG = b'fleet = "f"\ndevice = "d"\n[broker]\nhost = "h"\nport = 1883\n[limits]\nwindow = 8\n[models.m]\nactivate = ["/bin/true"]\n'
STATS = b"RAM 2448/7620MB (lfb 3x4MB) SWAP 0/3810MB CPU [1%@729,0%@729] GR3D_FREQ 0% cpu@46C VDD_IN 4984mW/4984mW VDD_CPU_GPU_CV 1856mW/1856mW"


def _texts(place: Place) -> dict[str, Parser]:
    from edgewright.agent.config import config_from_toml
    from edgewright.agent.helper import HelperFile, _Model, _Modes, command_for, read_helper_file
    from edgewright.compression.recipe import recipe_from_toml
    from edgewright.core.budget import budget_from_toml
    from edgewright.core.card import card_from_toml
    from edgewright.core.labels import labels_from_csv
    from edgewright.core.trust import load_anchor
    from edgewright.profiling.power_config import read_power_config
    from edgewright.profiling.sensors.tegrastats import parse_tegrastats
    from edgewright.profiling.sysfs import Sysfs

    def reading(path: Path) -> object:
        tree = Sysfs(path.parents[1])
        return tree.text("sys/value"), tree.integer("sys/value")

    def anchor(path: Path) -> object:
        (path.parent / "targets.json").write_bytes(path.read_bytes())
        return load_anchor(path.parent, 1.8e9)

    helper = b'[models.m]\nactivate = ["/bin/true"]\n[nvpmodel]\nallow = [0]\n'
    nobody = {"keyids": [], "threshold": 1}
    signed = {"_type": "root", "version": 1, "spec_version": "1.0.31", "expires": "2030-01-01T00:00:00Z", "consistent_snapshot": False, "keys": {}}
    signed["roles"] = dict.fromkeys(("root", "timestamp", "snapshot", "targets"), nobody)
    root = msgspec.json.encode({"signatures": [], "signed": signed})
    return {
        "card": Parser(place.of("card.toml", card_from_toml), (CARD,)),
        "budget": Parser(place.of("budget.toml", budget_from_toml), (b'max_top1_drop = 0.1\nmax_size_bytes = 10\non_unmeasured = "allow"\n',)),
        "compression recipe": Parser(
            place.of("recipe.toml", recipe_from_toml), (b'[[passes]]\nname = "fold"\n[[passes]]\nname = "share_weights"\nratio = 8.0\n',)
        ),
        "agent configuration": Parser(place.of("agent.toml", config_from_toml), (CONFIG,)),
        "helper configuration": Parser(place.of("helper.toml", lambda path: read_helper_file(path, os.getuid())), (helper,)),
        "helper request": Parser(
            lambda line: command_for(line, HelperFile({"m": _Model(("/bin/true",))}, _Modes((0,)))), (b"activate m\n", b"nvpmodel 0\n")
        ),
        "power configuration": Parser(
            place.of("power/etc/edgewright/power.toml", lambda path: read_power_config(Sysfs(path.parents[2]))), (b"[modes]\nallow = [0, 1]\n",)
        ),
        "labels": Parser(place.of("labels.csv", labels_from_csv), (b"file,label\na.png,1\nb.png,2\n", b"file,label,name\na.png,1,cat\n")),
        "sysfs": Parser(place.of("sys/value", reading), (b"4984\n", b"-256000\n", b"0x10\n")),
        "tegrastats": Parser(lambda data: parse_tegrastats(data.decode("utf-8", "replace")), (STATS,)),
        "trust anchor": Parser(place.of("trust/root.json", anchor), (root,)),
    }


def _datasets(place: Place) -> dict[str, Parser]:
    from edgewright.core.arrays import open_npy, open_npz
    from edgewright.core.card import InputCard
    from edgewright.core.images import read_image

    image_card = InputCard(kind="image", color="RGB", layout="NCHW", size=(8, 8))
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, np.arange(12, dtype=np.float32).reshape(4, 3))
    np.savez(npz, x=np.arange(6, dtype=np.uint8), labels=np.arange(3))

    def rows(files: Iterable[Any]) -> object:
        for file in files:
            for _ in file.batches(2) if hasattr(file, "batches") else ():
                pass
        return None

    pictures = []
    from PIL import Image

    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(buffer, kind)
        pictures.append(buffer.getvalue())
    return {
        "npy": Parser(place.of("x.npy", lambda path: rows([open_npy(path)])), (npy.getvalue(),)),
        "npz": Parser(place.of("x.npz", lambda path: rows(open_npz(path).values())), (npz.getvalue(),)),
        "picture": Parser(place.of("x.png", lambda path: read_image(path, image_card)), tuple(pictures)),
    }


def _state(place: Place) -> dict[str, Parser]:
    from edgewright.agent.control import ControlRequest
    from edgewright.agent.journal import JournalFile, count_start
    from edgewright.agent.slots import ModelSlots
    from edgewright.engines.manifest import read_manifest
    from edgewright.engines.provenance import read_seals
    from edgewright.profiling.mode_journal import _read as read_mode

    slot = {"folder": "d1-1", "deployment": "d1", "version": "1", "backend": "b", "engine_digest": "x", "since_s": 1.0}
    manifest = {"model": "m", "engine": "e", "card": None, "backend": "b", "backend_version": "1", "provider": "p", "fingerprint": "f", "files": {}}

    def journal(path: Path) -> object:
        loaded = JournalFile(path.parent).load()
        for aside in path.parent.glob("journal.unreadable-*"):
            aside.unlink()
        return loaded

    def partial(path: Path) -> object:
        from edgewright.agent.store import Store
        from edgewright.core.artifact import describe_bytes

        blob, _ = describe_bytes(b"data" * 100)
        store = Store(path.parents[1])
        path.rename(path.with_name(f"{blob.digest}.map"))
        path.with_name(blob.digest).write_bytes(b"data" * 50)
        opened = store.open_partial(blob)
        opened.close()
        return opened.missing

    return {
        "journal": Parser(place.of("state/journal.json", journal), (b"{}", msgspec.json.encode({"version": 1, "models": {"m": {"held": True}}}))),
        "number of starts": Parser(place.of("starts/starts", lambda path: count_start(path.parent)), (b"12",)),
        "slots": Parser(
            place.of("slots/models/m/slots.json", lambda path: ModelSlots(path.parents[2], "m").read()), (msgspec.json.encode({"active": slot}),)
        ),
        "manifest": Parser(place.of("engine/manifest.json", lambda path: read_manifest(path.parent)), (msgspec.json.encode(manifest),)),
        "seals": Parser(place.of("sealed/manifest.sig", lambda path: read_seals(path.parent)), (b'[{"keyid": "k", "sig": "00"}]',)),
        "power mode's journal": Parser(place.of("power-mode.json", read_mode), (b'{"mode": 2}',)),
        "map of a partial blob": Parser(place.of("store/partial/x", partial), (b"\x01",)),
        "control request": Parser(_control(ControlRequest), (b'{"verb": "status"}', b'{"verb": "cancel", "name": "d1"}')),
    }


def _control(kind: type[Any]) -> Callable[[bytes], object]:
    """The line as the control server reads it from its socket."""
    from edgewright.agent.control import ControlServer

    server = object.__new__(ControlServer)
    server._answer = lambda request: {"verb": request.verb}
    server._post = lambda call, *arguments: call(*arguments)

    def parse(data: bytes) -> object:
        near, far = socket.socketpair()
        with near, far:
            near.sendall(data.replace(b"\n", b" ")[:MAX_BYTES] + b"\n")
            server._serve_one(far)
            return near.recv(1 << 16)

    del kind
    return parse


# --- spoiling ---


def spoil(seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """One seed with a few things wrong, or, now and then, noise."""
    if chance.random() < 0.02:
        return chance.randbytes(chance.randrange(64))
    data = bytearray(chance.choice(seeds))
    for _ in range(1 + int(chance.random() * chance.random() * 8)):
        _spoil_once(data, seeds, chance)
    return bytes(data[:MAX_BYTES])


def _spoil_once(data: bytearray, seeds: tuple[bytes, ...], chance: random.Random) -> None:
    place = chance.randrange(len(data) + 1)
    kind = chance.randrange(8)
    if kind == 0 and data:
        data[place % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 1 and data:
        data[place % len(data)] = chance.randrange(256)
    elif kind == 2:
        del data[place : place + chance.choice((1, 2, 4, 16, 64))]
    elif kind == 3:
        data[place:place] = data[place : place + chance.choice((1, 4, 16, 64))]
    elif kind == 4:
        data[place:place] = chance.choice(_NAMES).encode()
    elif kind == 5:
        data[place : place + 8] = chance.choice(_NUMBERS).to_bytes(8, chance.choice(("little", "big")))
    elif kind == 6:
        del data[place:]
    else:
        other = chance.choice(seeds)
        data[place:] = other[chance.randrange(len(other) + 1) :]


class Hang(BaseException):
    """A parser took longer than `HANG_S`."""


class _HangWatch:
    """A context manager that raises `Hang` in a parser that does not come to its end within `HANG_S`.

    It counts ticks of a timer, of which at most one waits while the process is stopped: a fuzzer that is held with SIGSTOP for an hour has hung
    nowhere.
    """

    def __init__(self) -> None:
        self._ticks = 0
        self._seen = -1
        self.passed = 0

    def __enter__(self) -> _HangWatch:  # noqa: PYI034 - Self is not in Python 3.10's typing
        self._before = signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, HANG_S / HANG_TICKS, HANG_S / HANG_TICKS)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, self._before)

    def _tick(self, _number: int, _frame: object) -> None:
        self._ticks = self._ticks + 1 if self._seen == self.passed else 0
        self._seen = self.passed
        if self._ticks >= HANG_TICKS:
            raise Hang


def fuzz(parser: Parser, inputs: Iterable[bytes]) -> int:
    """Parse each of `inputs`; returns how many were.

    Raises:
        AssertionError: with the input that raised something else, or took too long.
    """
    with _HangWatch() as watch:
        for data in inputs:
            try:
                parser.parse(data)
            except EdgewrightError:
                pass
            except (Exception, Hang) as error:
                raise AssertionError(f"{type(error).__name__}: {error} for {data!r}") from error
            watch.passed += 1
    return watch.passed


def spoilt(parser: Parser, seed: int, count: int) -> Iterator[bytes]:
    """`count` inputs, the same for the same `seed`."""
    chance = random.Random(seed)
    for _ in range(count):
        yield spoil(parser.seeds, chance)
