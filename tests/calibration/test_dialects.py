from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgewright.calibration.calibrate import CalibrationOptions, calibrate
from edgewright.calibration.dialects import onnxruntime_dialect, target_named
from edgewright.core.card import ModelCard
from edgewright.core.dataset import open_dataset
from edgewright.core.errors import Rejected
from edgewright.engines.model import input_specs


@pytest.fixture
def cpuinfo(tmp_path):
    def write(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: other\n")
        return path

    return write


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_arm_wants_signed_codes(machine, cpuinfo):
    dialect = onnxruntime_dialect(machine, cpuinfo("fp asimd"))

    assert not dialect.is_unsigned
    assert dialect.weight_max == 127


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_x86_with_vnni_uses_all_codes(flag, cpuinfo):
    dialect = onnxruntime_dialect("x86_64", cpuinfo(f"sse avx2 {flag}"))

    assert dialect.is_unsigned
    assert dialect.weight_max == 127


def test_x86_without_vnni_keeps_weights_to_seven_bits(cpuinfo):
    # Two products of u8 255 and s8 63 fit into 16 bits: 2 · 255 · 63 = 32,130 ≤ 32,767.
    assert onnxruntime_dialect("x86_64", cpuinfo("sse avx2")).weight_max == 63


def test_an_unknown_processor_is_taken_for_one_without(tmp_path):
    assert onnxruntime_dialect("x86_64", tmp_path / "absent").weight_max == 63


def test_a_target_is_named_or_refused():
    assert target_named("aarch64") == "aarch64"
    with pytest.raises(Rejected) as caught:
        target_named("riscv64")
    assert caught.value.code == "target-unknown"


def test_the_arm_dialect_can_be_chosen_here(models, tiny_classifier, tiny_samples, tmp_path):
    dataset = open_dataset(tiny_samples, ModelCard(), input_specs(onnx.load(str(tiny_classifier))))
    options = CalibrationOptions(method="minmax", target="aarch64", threads=1)

    result = calibrate(tiny_classifier, dataset, tmp_path, options, progress=lambda *_: None, cancel=lambda: False)

    written = onnx.load(str(result.onnxruntime))
    zeros = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    quantizers = [node for node in written.graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    assert {(zeros[node.input[2]].dtype.name, int(zeros[node.input[2]])) for node in quantizers} == {("int8", 0)}
    samples = models.samples(50, seed=5)
    exact, found = (models.run(onnx.load(str(path)), {"input": samples})["logits"] for path in (tiny_classifier, result.onnxruntime))
    assert 10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()) > 25
