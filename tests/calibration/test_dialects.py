from __future__ import annotations

import pytest
from edgewright.calibration.dialects import onnxruntime_dialect


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
