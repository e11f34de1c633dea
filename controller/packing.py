"""Packs a model and its datasets into artifacts: what the wire carries are few files with plain names."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from ..core.artifact import MAX_FILES, Artifact
from ..core.card import ModelCard, card_beside
from ..core.dataset import open_dataset
from ..core.errors import Rejected
from ..core.images import SUFFIXES, read_image
from ..core.sources import PictureSource
from ..core.tensors import TensorSpec
from .blobs import BlobStore
from .external_data import external_files

MODEL_NAME, CODED_NAME = "model.onnx", "model.ewz"
CARD_NAME = "model.toml"
DATASET_NAME = "samples.npz"
_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,127}")


def pack_model(store: BlobStore, model: Path) -> Artifact:
    """The model as ``model.onnx``, or a coded one as ``model.ewz``, its card, and external data beside it under the names that the model uses.

    Raises:
        Rejected: ``model-missing``, ``file-unreadable``, ``external-data-name``, ``card-…``.
    """
    if not model.is_file():
        raise Rejected("model-missing", f"there is no model at {model}", "Give the path of an .onnx file")
    is_coded = model.suffix == ".ewz"
    files = {CODED_NAME if is_coded else MODEL_NAME: model}
    card = model.with_suffix(".toml")
    if card.is_file():
        card_beside(model)  # a card that cannot be read is refused here, not on a thousand devices
        files[CARD_NAME] = card
    for name in () if is_coded else external_files(model):
        if not _PLAIN.fullmatch(name) or name in files:
            raise Rejected("external-data-name", f"the model's external data {name!r} cannot be sent", "Save it under a name of [a-z0-9._-]")
        files[name] = model.parent / name
    if len(files) > MAX_FILES:
        message = f"the model has {len(files)} files, an artifact holds {MAX_FILES}"
        raise Rejected("external-data-name", message, "Save its external data in one file: onnx.save(…, all_tensors_to_one_file=True)")
    return store.add_files(files)


def pack_dataset(store: BlobStore, dataset: Path, model: Path) -> Artifact:
    """A dataset as one ``.npz`` or a few arrays. Pictures are fitted to the model's card here and travel as uint8.

    Raises:
        Rejected: ``dataset-…``, ``image-…``, ``card-…``.
    """
    if dataset.is_file() and dataset.suffix.lower() not in {".npy", *SUFFIXES}:
        return store.add_files({DATASET_NAME: dataset})
    if not dataset.is_dir():
        what = f"{dataset} is a single {dataset.suffix} file" if dataset.is_file() else f"there is no dataset at {dataset}"
        raise Rejected("dataset-unreadable" if dataset.is_file() else "dataset-missing", what, "Give a folder of images or arrays, or an .npz")
    arrays = {path.name: path for path in sorted(dataset.glob("*.npy")) if not path.name.startswith(".")}
    if arrays:
        if len(arrays) <= MAX_FILES and all(_PLAIN.fullmatch(name) for name in arrays):
            return store.add_files(arrays)
        return _packed(store, lambda archive: _write_files(archive, arrays))
    archives = sorted(path for path in dataset.glob("*.npz") if not path.name.startswith("."))
    if len(archives) > 1:
        raise Rejected("dataset-wrong-count", f"{dataset} holds {len(archives)} .npz files", "Give the path of one of them")
    if archives:
        return store.add_files({DATASET_NAME: archives[0]})
    return _pack_pictures(store, dataset, card_beside(model), model)


def _write_files(archive: zipfile.ZipFile, files: dict[str, Path]) -> None:
    for name, path in files.items():
        try:
            file = path.open("rb")
        except OSError as error:
            raise Rejected("file-unreadable", f"{path} cannot be read: {error.strerror}", "Give a readable file") from error
        with file, _member(archive, name) as member:
            shutil.copyfileobj(file, member, 1 << 20)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A new member, always of the same date: what was packed before is the same blob again."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = archive.compression
    return archive.open(entry, "w", force_zip64=True)


def _pack_pictures(store: BlobStore, dataset: Path, card: ModelCard, model: Path) -> Artifact:
    names = [name for name, entry in card.inputs.items() if entry.kind == "image"]
    if len(names) != 1:
        message = f"{dataset} holds no arrays, and {model.with_suffix('.toml').name} names no single input of kind image for pictures"
        raise Rejected("dataset-wrong-type", message, "Write a model card beside the model, or give an .npz")
    entry = card.inputs[names[0]]
    opened = open_dataset(dataset, card, (TensorSpec(names[0], "float32", (None, None, None, None)),))
    source = opened.sources[names[0]]
    assert isinstance(source, PictureSource)
    assert entry.size is not None

    def write(archive: zipfile.ZipFile) -> None:
        shape = (len(source.files), *entry.size, entry.channels) if entry.size else ()
        with _member(archive, f"{names[0]}.npy") as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for path in source.files:
                pixels = read_image(path, entry)
                # The device's reader applies the card's order of channels once more.
                member.write(np.ascontiguousarray(pixels[..., ::-1] if entry.color == "BGR" else pixels).tobytes())
        if opened.labels is not None:
            with _member(archive, "labels.npy") as member:
                np.lib.format.write_array(member, opened.labels, allow_pickle=False)

    return _packed(store, write)


def _packed(store: BlobStore, write: Callable[[zipfile.ZipFile], None]) -> Artifact:
    with store.scratch() as folder:
        path = folder / DATASET_NAME
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            write(archive)
        return Artifact({DATASET_NAME: store.take_file(path)})
