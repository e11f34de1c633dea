"""The labels of a dataset: ``labels.csv`` beside pictures, a ``labels`` array beside arrays. Classes are 0, 1, 2 …"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .arrays import ArrayFile
from .errors import Rejected

MAX_LABELS_BYTES = 64 << 20
_MAX_DIGITS = 9

Labels = npt.NDArray[np.int64]


def labels_from_csv(path: Path) -> tuple[list[str], Labels]:
    """File names and labels of a ``labels.csv`` (lines of ``file,label[,name]``, with or without that heading), in its order.

    Raises:
        Rejected: ``dataset-wrong-labels`` naming the line; ``dataset-empty``.
    """
    names: list[str] = []
    labels: list[int] = []
    for number, row in _rows(path):
        if not row or (number == 1 and [cell.strip().lower() for cell in row[:2]] == ["file", "label"]):
            continue
        if len(row) < 2:
            raise _refuse(path, f"line {number} has no label")
        name, label = row[0].strip(), row[1].strip()
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise _refuse(path, f"line {number} does not name a file of that folder: {name[:80]!r}")
        if not (label.isascii() and label.isdecimal() and len(label) <= _MAX_DIGITS):
            raise _refuse(path, f"line {number} has the label {label[:80]!r}")
        names.append(name)
        labels.append(int(label))
    if not names:
        raise Rejected("dataset-empty", f"{path.name} names no files", "Write lines of file,label")
    return names, np.asarray(labels, np.int64)


def labels_from_array(folder: str, file: ArrayFile, samples: int) -> Labels:
    """The ``labels`` array of the dataset called `folder`.

    Raises:
        Rejected: ``dataset-wrong-labels``, ``dataset-unreadable``.
    """
    if file.dtype.kind not in "iu" or file.shape != (samples,):
        shape = "x".join(map(str, file.shape))
        message = f"the labels of {folder} are {file.dtype} of shape {shape}"
        raise Rejected("dataset-wrong-labels", message, f"Give {samples} integers, one per sample")
    with file.reader() as read:
        labels = read(0, samples).astype(np.int64)
    if labels.min() < 0:
        first = int(np.flatnonzero(labels < 0)[0])
        raise Rejected("dataset-wrong-labels", f"sample {first} of {folder} has a negative label", "Label with 0, 1, 2 …, or leave labels out")
    return labels


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise _refuse(path, f"is larger than {MAX_LABELS_BYTES} bytes")
        # Spreadsheets write a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            for row in rows:
                yield rows.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refuse(path, f"is not readable CSV: {error}") from error


def _refuse(path: Path, what: str) -> Rejected:
    return Rejected("dataset-wrong-labels", f"{path.name} {what}", "Write lines of file,label with label = 0, 1, 2 …")
