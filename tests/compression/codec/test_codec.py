"""The codec: exact, bounded, small; and damage of every kind is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
import zstandard
from edgewright.compression.codec.container import MAGIC, Body, decode_model, encode_model, serialized, write_coded, write_decoded
from edgewright.compression.codec.tensors import Coded, code, decode, pack, unpack
from edgewright.core.errors import Rejected
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper


@settings(max_examples=120)
@given(
    st.one_of(
        arrays.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32)),
        arrays.arrays(np.float32, st.integers(0, 300), elements=st.sampled_from([0.0, -0.0, 1.5, -2.25, float("nan")])),
        arrays.arrays(np.int8, st.integers(0, 300)),
        arrays.arrays(np.int64, st.integers(0, 60), elements=st.sampled_from([0, 7, -(2**62)])),
        arrays.arrays(np.float16, st.integers(0, 300), elements=st.floats(width=16)),
    )
)
def test_every_tensor_comes_back_bit_for_bit(value):
    back = decode(code(value))

    assert back.dtype == value.dtype
    assert back.tobytes() == value.tobytes()


@pytest.mark.parametrize("gap", [1, 254, 255, 256, 511, 1000])
def test_sparse_tensors_come_back_at_every_length_of_gap(gap):
    value = np.zeros(gap * 7 + 3, np.float32)
    value[gap::gap] = np.linspace(0.1, 0.7, len(value[gap::gap]), dtype=np.float32)

    assert np.array_equal(decode(code(value)), value)


def test_few_values_cost_their_entropy():
    rng = np.random.default_rng(0)
    values = rng.choice(np.array([-1.0, 0.0, 0.5, 2.0], np.float32), 100_000, p=[0.25, 0.25, 0.25, 0.25])

    coded = code(values)

    # Two bits each, and a few hundred bytes of tables.
    assert sum(map(len, coded.parts)) + len(coded.table) < 100_000 / 4 * 1.02 + 300


@pytest.fixture
def weighty(maker):
    m = maker(3, (8, 8), 0)
    return m.head(m.conv(m.conv("x", 32), 32), 10)


def test_a_model_comes_back_byte_for_byte(weighty):
    data = encode_model(weighty)

    assert serialized(decode_model(data)) == serialized(weighty)


def test_a_quantised_model_comes_back_and_is_smaller(weighty, tmp_path):
    for tensor in weighty.graph.initializer:
        if len(tensor.dims) == 4:
            shape = tuple(tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(np.random.default_rng(0).integers(-9, 9, shape, np.int8), tensor.name))
    path = tmp_path / "m.onnx"
    path.write_bytes(serialized(weighty))

    size = write_coded(path, tmp_path / "m.ewz")
    write_decoded(tmp_path / "m.ewz", tmp_path / "back.onnx")

    assert (tmp_path / "back.onnx").read_bytes() == path.read_bytes()
    assert size == (tmp_path / "m.ewz").stat().st_size < path.stat().st_size


def test_external_data_goes_inside(weighty, tmp_path):
    onnx.save(weighty, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)

    write_coded(tmp_path / "m.onnx", tmp_path / "m.ewz")
    write_decoded(tmp_path / "m.ewz", tmp_path / "back.onnx")

    onnx.checker.check_model(onnx.load(tmp_path / "back.onnx"))


@pytest.mark.parametrize("cut", [0, 7, 20, 47, 60, -1])
def test_a_file_that_is_cut_off_is_refused(weighty, cut):
    with pytest.raises(Rejected) as refused:
        decode_model(encode_model(weighty)[:cut])

    assert refused.value.code == "codec-malformed"


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_another_model(place, bit, coded_once):
    """Some bits mean nothing (in an entropy coder's padding); every other one is found out."""
    data = bytearray(coded_once)
    data[int(place * len(data))] ^= 1 << bit

    try:
        found = serialized(decode_model(bytes(data)))
    except Rejected as error:
        assert error.code == "codec-malformed"  # noqa: PT017 - both ends are right
    else:
        assert found == serialized(decode_model(coded_once))


def test_a_flipped_bit_in_the_digest_is_refused(coded_once):
    data = bytearray(coded_once)
    data[20] ^= 1

    with pytest.raises(Rejected) as refused:
        decode_model(bytes(data))

    assert refused.value.code == "codec-malformed"


def test_a_stream_that_promises_more_than_fits_into_memory_is_refused_before_it_is_unpacked():
    # RFC 8878: the frame's header may name its size, here in eight bytes.
    frame = zstandard.FRAME_HEADER + bytes([0xC0, 0x58]) + (1 << 62).to_bytes(8, "little") + b"\x01\x00\x00"

    with pytest.raises(ValueError, match="promises another size"):
        unpack(frame, 72)


@pytest.mark.parametrize("dtype", ["<,4", "O", "V8", "f4,f4", ">f4", ""])
def test_a_type_that_is_no_number_s_is_refused(dtype):
    entry = Coded(dtype, 1, "plain", b"", (b"",))
    body = msgspec.msgpack.encode(Body(pack(b""), 0, {0: entry}))

    with pytest.raises(Rejected) as refused:
        decode_model(MAGIC + len(body).to_bytes(8, "little") + bytes(32) + body)

    assert refused.value.code == "codec-malformed"
    assert "regex" in str(refused.value)


@pytest.fixture(scope="module")
def coded_once(request):
    manager = request.config.pluginmanager
    conftest = next(p for p in manager.get_plugins() if getattr(p, "__file__", "").endswith("tests/compression/conftest.py"))
    m = conftest.GraphMaker(3, (8, 8), 0)
    return encode_model(m.head(m.conv("x", 16), 4))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(Rejected) as refused:
        write_decoded(tmp_path / "none.ewz", tmp_path / "x.onnx")

    assert refused.value.code == "model-missing"
