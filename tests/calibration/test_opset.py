from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.graph import opset_of
from edgewright.calibration.opset import at_least
from edgewright.core.errors import Unfit


def test_a_model_that_is_new_enough_is_left_alone(models):
    proto = models.classifier()

    assert at_least(proto, 17, "it") is proto


@pytest.mark.parametrize(("opset", "ir"), [(19, 9), (21, 10)])
def test_a_raised_model_computes_the_same(models, opset, ir):
    proto, samples = models.classifier(), {"input": models.samples(3)}

    raised = at_least(proto, opset, "it")

    assert (opset_of(raised), raised.ir_version) == (opset, ir)
    np.testing.assert_allclose(models.run(raised, samples)["logits"], models.run(proto, samples)["logits"], rtol=1e-6)


def test_what_cannot_be_raised_says_what_for(models):
    proto = models.model([models.node("Upsample", ["x", "s"], ["y"])], {"x": [1, 1, 2, 2]}, {"y": None}, {"s": np.ones(4, np.float32)}, opset=9)
    proto.graph.node[0].op_type = "Nonsense"

    with pytest.raises(Unfit) as caught:
        at_least(proto, 21, "INT4")

    assert caught.value.code == "opset-too-old"
    assert caught.value.message.startswith("INT4 needs opset 21")
