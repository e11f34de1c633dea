"""Other tools' INT8 quantisation of one model on preprocessed samples; run by a Python that has the tool, without Edgewright.

    python benchmarks/calibration_peers.py TOOL MODEL INPUT.npy OUT.onnx

Prints one JSON object: seconds of the whole call and the process's peak memory, or why the tool cannot be used here. The model is copied
first: some tools rewrite their input.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from procfs import peak_rss_mb


def _onnxruntime(model: Path, name: str, samples: Any, out: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        def __init__(self) -> None:
            self._samples = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self._samples, None)
            return None if sample is None else {name: sample[None]}

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(model), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)


def _nncf(model: Path, name: str, samples: Any, out: Path) -> None:
    import nncf
    import onnx

    data = nncf.Dataset(samples, lambda sample: {name: sample[None]})
    onnx.save(nncf.quantize(onnx.load(str(model)), data, subset_size=len(samples)), str(out))


def _onnxsim(model: Path, name: str, samples: Any, out: Path) -> None:
    import onnx
    import onnxsim

    feeds = [{name: sample[None]} for sample in samples]
    onnx.save(onnxsim.quantize_static(onnx.load(str(model)), feeds, method="minmax"), str(out))


def _aimet(model: Path, name: str, samples: Any, out: Path) -> None:
    import onnx
    from aimet_onnx.cross_layer_equalization import equalize_model
    from aimet_onnx.quantsim import QuantizationSimModel

    loaded = onnx.load(str(model))
    equalize_model(loaded)
    simulated = QuantizationSimModel(loaded)
    simulated.compute_encodings({name: sample[None]} for sample in samples)
    onnx.save(simulated.to_onnx_qdq(), str(out))


TOOLS = {"onnxruntime": _onnxruntime, "nncf": _nncf, "onnxsim": _onnxsim, "aimet": _aimet}


def main() -> None:
    tool, model, samples, out = sys.argv[1], Path(sys.argv[2]), np.load(sys.argv[3], mmap_mode="r"), Path(sys.argv[4])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(model, folder))
        started = time.perf_counter()
        try:
            TOOLS[tool](copy, Path(sys.argv[3]).stem, samples, out)
        except ImportError as error:
            print(json.dumps({"absent": str(error)}))
            return
        except Exception as error:
            print(json.dumps({"absent": f"{type(error).__name__}: {error}"[:200]}))
            return
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_mb": peak_rss_mb(os.getpid())}))


if __name__ == "__main__":
    main()
