"""Models in two versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SaveModel = Callable[..., Path]


@pytest.fixture(scope="session")
def weights() -> list[Any]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal((size, size)).astype(np.float32) for size in (200, 300, 260)]


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """``save_model("name", weights)``; `word` stands before the weights and moves them."""

    def save(name: str, weights: list[Any], word: str = "g") -> Path:
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            word,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            [numpy_helper.from_array(value, f"w{index}") for index, value in enumerate(weights)],
        )
        onnx.save_model(helper.make_model(graph, producer_name=word), str(tmp_path / name))
        return tmp_path / name

    return save
