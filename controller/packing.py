"""Packs a model and its datasets into artifacts: what the wire carries are few files with plain names."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.artifact import MAX_FILES, Artifact
from ..core.card import ModelCard, card_beside
from ..core.dataset import open_dataset
from ..core.errors import Rejected
from ..core.images import SUFFIXES, read_image
from ..core.sources import PictureSource
from ..core.tensors import TensorSpec
from .blobs import BlobStore

MODEL_NAME = "model.onnx"
CARD_NAME = "model.toml"
DATASET_NAME = "samples.npz"
_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,127}")


def pack_model(store: BlobStore, model: Path) -> Artifact:
    """The model as ``model.onnx``, its card, and external data beside it under the names that the model uses.

    Raises:
        Rejected: ``file-unreadable``, ``external-data-name``, ``card-…``.
    """
    files = {MODEL_NAME: model}
    card = model.with_suffix(".toml")
    if card.is_file():
        card_beside(model)  # a card that cannot be read is refused here, not on a thousand devices
        files[CARD_NAME] = card
    for name in _external_files(model):
        if not _PLAIN.fullmatch(name) or name in files:
            raise Rejected("external-data-name", f"the model's external data {name!r} cannot be sent", "Save it under a name of [a-z0-9._-]")
        files[name] = model.parent / name
    return store.add_files(files)


def _external_files(model: Path) -> list[str]:
    """The names of a model's external data. A file that is no model has none: the device says what is wrong with it."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    if model.stat().st_size > 2 << 30:
        return []
    try:
        proto = onnx.load(str(model), load_external_data=False)
    except (DecodeError, ValueError, OSError):
        return []
    names = set()
    for tensor in proto.graph.initializer:
        if uses_external_data(tensor):
            names |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return sorted(names)


def pack_dataset(store: BlobStore, dataset: Path, model: Path) -> Artifact:
    """A dataset as one ``.npz`` or a few arrays. Pictures are fitted to the model's card here and travel as uint8.

    Raises:
        Rejected: ``dataset-…``, ``image-…``, ``card-…``.
    """
    if dataset.is_file():
        return store.add_files({DATASET_NAME: dataset})
    if not dataset.is_dir():
        raise Rejected("dataset-missing", f"there is no dataset at {dataset}", "Give a folder of images or arrays, or an .npz")
    arrays = {path.name: path for path in sorted(dataset.glob("*.npy"))}
    if arrays:
        if len(arrays) <= MAX_FILES and all(_PLAIN.fullmatch(name) for name in arrays):
            return store.add_files(arrays)
        return _packed(store, lambda archive: _write_files(archive, arrays))
    only = list(dataset.glob("*.npz"))
    if len(only) == 1 and not (dataset / "images").is_dir():
        return store.add_files({DATASET_NAME: only[0]})
    return _pack_pictures(store, dataset, card_beside(model), model)


def _write_files(archive: zipfile.ZipFile, files: dict[str, Path]) -> None:
    for name, path in files.items():
        archive.write(path, name)


def _pack_pictures(store: BlobStore, dataset: Path, card: ModelCard, model: Path) -> Artifact:
    names = [name for name, entry in card.inputs.items() if entry.kind == "image"]
    if len(names) != 1:
        kinds = ", ".join(sorted(SUFFIXES))
        message = f"{dataset.name} holds pictures ({kinds}), but {model.with_suffix('.toml').name} names no single input of kind image"
        raise Rejected("dataset-wrong-type", message, "Write a model card beside the model, or give an .npz")
    entry = card.inputs[names[0]]
    opened = open_dataset(dataset, card, (TensorSpec(names[0], "float32", (None, None, None, None)),))
    source = opened.sources[names[0]]
    assert isinstance(source, PictureSource)
    assert entry.size is not None

    def write(archive: zipfile.ZipFile) -> None:
        shape = (len(source.files), *entry.size, entry.channels) if entry.size else ()
        with archive.open(f"{names[0]}.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for path in source.files:
                pixels = read_image(path, entry)
                # The device's reader applies the card's order of channels once more.
                member.write(np.ascontiguousarray(pixels[..., ::-1] if entry.color == "BGR" else pixels).tobytes())
        if opened.labels is not None:
            with archive.open("labels.npy", "w") as member:
                np.lib.format.write_array(member, opened.labels, allow_pickle=False)

    return _packed(store, write)


def _packed(store: BlobStore, write: Callable[[zipfile.ZipFile], None]) -> Artifact:
    with tempfile.TemporaryDirectory(prefix="edgewright-pack-") as folder:
        path = Path(folder) / DATASET_NAME
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            write(archive)
        return store.add_files({DATASET_NAME: path})
