"""The application on the board: classifies a stream of pictures with the current engine of a model, and goes on when the model changes.

    python examples/classify_stream.py surface-classifier --state /var/lib/edgewright --source pictures.npz

Nothing here knows when a deployment happens: `edgewright.open` looks at the model's link before each inference and opens the new engine
beside the old one, which answers until then. The agent's `activate` verb is not needed for an application like this one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import edgewright
from edgewright.core.card import card_from_toml
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import EdgewrightError

if TYPE_CHECKING:
    from edgewright.engines.application import ModelRunner
    from edgewright.engines.base import Tensors


def pictures(model: ModelRunner, source: Path) -> Iterator[Tensors]:
    """The samples of a dataset, one at a time, over and over: stands for a camera."""
    folder = model.folder
    card = card_from_toml(folder / model.manifest.card) if model.manifest.card else None
    if card is None:
        raise SystemExit(f"{model.manifest.model} has no model card: nothing says how pictures become tensors")
    dataset = open_dataset(source, card, model.inputs)
    for _ in itertools.count():
        for batch in dataset.batches(1):
            yield batch.feeds


def classify(options: argparse.Namespace) -> None:
    """Classify until the frames are up; says which version answers whenever that changes."""
    with edgewright.open(options.model, options.state) as model:
        version, started = "", time.monotonic()
        for frame, feeds in enumerate(pictures(model, options.source), 1):
            outputs = model.infer(feeds)
            if model.manifest.model_version != version:
                version = model.manifest.model_version
                print(f"frame {frame}: {options.model} {version} runs on {model.provider}, deployment {model.manifest.deployment}", flush=True)
            if frame % options.every == 0:
                scores = next(iter(outputs.values())).reshape(-1)
                rate = frame / (time.monotonic() - started)
                print(f"frame {frame}: class {int(scores.argmax())}, {rate:.0f} frames/s", flush=True)
            if frame == options.frames:
                return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the model's name, as it was deployed")
    parser.add_argument("--state", type=Path, help="the agent's state folder; default: $EDGEWRIGHT_STATE or /var/lib/edgewright")
    parser.add_argument("--source", type=Path, required=True, help="a dataset to classify: a folder of images, or an .npz")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many; 0 = never")
    parser.add_argument("--every", type=int, default=100, help="print one line per so many frames")
    options = parser.parse_args()
    try:
        classify(options)
    except EdgewrightError as error:
        print(error.reason.line(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
