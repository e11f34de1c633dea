from __future__ import annotations

import hashlib

import onnx
import pytest
from edgewright.core.errors import Rejected
from edgewright.core.tensors import TensorSpec
from edgewright.engines import model as model_module
from edgewright.engines.model import digest_of_model, first_line, input_specs, output_specs, read_model


def test_reads_names_types_and_shapes(models, tiny_classifier):
    proto = read_model(tiny_classifier)

    assert input_specs(proto) == (TensorSpec("input", "float32", (None, 3, 8, 8)),)
    assert output_specs(proto) == (TensorSpec("logits", "float32", (None, 4)),)


def test_weights_listed_as_inputs_need_no_feed(models):
    proto = models.classifier()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w1", onnx.TensorProto.FLOAT, [8, 3, 3, 3]))

    assert [spec.name for spec in input_specs(proto)] == ["input"]


def test_there_must_be_a_file(tmp_path):
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(Rejected) as caught:
            read_model(path)
        assert caught.value.code == "model-missing"


def test_every_truncation_is_refused_in_one_line(models, tmp_path):
    content = models.classifier().SerializeToString()
    path = tmp_path / "cut.onnx"
    for size in range(0, len(content) - 1, 97):
        path.write_bytes(content[:size])
        with pytest.raises(Rejected) as caught:
            read_model(path)
        assert caught.value.code == "model-unreadable"
        assert "\n" not in caught.value.message


def test_a_model_without_nodes_is_refused(tmp_path):
    path = tmp_path / "bare.onnx"
    path.write_bytes(onnx.ModelProto(ir_version=8, producer_name="x").SerializeToString())

    with pytest.raises(Rejected) as caught:
        read_model(path)

    assert caught.value.code == "model-unreadable"


def test_a_model_that_protobuf_cannot_hold_is_refused_before_it_is_read(tiny_classifier, monkeypatch):
    monkeypatch.setattr(model_module, "MAX_MODEL_BYTES", 100)

    with pytest.raises(Rejected) as caught:
        read_model(tiny_classifier)

    assert caught.value.code == "model-too-large"


def test_external_data_that_is_missing_is_refused(models, tmp_path):
    path = tmp_path / "large.onnx"
    onnx.save_model(models.classifier(), str(path), save_as_external_data=True, location="large.bin", size_threshold=0)
    (tmp_path / "large.bin").unlink()

    with pytest.raises(Rejected) as caught:
        read_model(path)

    assert caught.value.code == "model-unreadable"


def test_a_sequence_is_no_input(models):
    proto = models.classifier()
    proto.graph.input.append(onnx.helper.make_tensor_sequence_value_info("list", onnx.TensorProto.FLOAT, None))

    with pytest.raises(Rejected) as caught:
        input_specs(proto)

    assert caught.value.code == "model-unreadable"
    assert "'list'" in caught.value.message


def test_the_first_line_of_an_error_is_never_empty():
    assert first_line(ValueError("one.\ntwo")) == "one"
    assert first_line(ValueError("")) == "ValueError"


def test_a_models_digest_is_its_files(models, tmp_path):
    path = models.save(models.classifier(), tmp_path / "m.onnx")

    assert digest_of_model(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_models_digest_follows_the_weights_beside_it(models, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save_model(models.classifier(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    first, alone = digest_of_model(path), hashlib.sha256(path.read_bytes()).hexdigest()
    weights = path.with_name("weights.bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    retrained = digest_of_model(path)
    weights.unlink()

    assert len({alone, first, retrained, digest_of_model(path)}) == 4


def test_an_empty_file_has_a_digest_too(tmp_path):
    (tmp_path / "empty.onnx").touch()

    assert digest_of_model(tmp_path / "empty.onnx") == hashlib.sha256(b"").hexdigest()
