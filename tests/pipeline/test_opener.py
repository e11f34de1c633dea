"""Micro-models are opened through the engines' seam, whatever they are made of."""

from __future__ import annotations

import pytest
from edgewright.compression.network import Geometry
from edgewright.compression.search.micro import micro_model
from edgewright.compression.search.plan import Variant
from edgewright.core.errors import EdgewrightError
from edgewright.engines.base import BuildOptions
from edgewright.pipeline.opener import BackendOpener

CHAIN = (Geometry(8, 16, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),)


@pytest.mark.parametrize("setting", ["codes", "island", "float"])
@pytest.mark.parametrize("chain", [(), CHAIN], ids=["launch", "layer"])
def test_every_variant_runs_in_every_setting(setting, chain):
    opened = BackendOpener("onnxruntime", BuildOptions(precision="int8"))

    with opened(micro_model(Variant(chain, (6, 6) if chain else (), setting))) as call:
        assert "y" in call()


def test_what_the_backend_cannot_run_says_why(models):
    unknown = models.model([models.node("NoSuchOperator", ["x"], ["y"])], {"x": [1, 4]}, {"y": None})

    with pytest.raises(EdgewrightError), BackendOpener("onnxruntime", BuildOptions())(unknown):
        pass
