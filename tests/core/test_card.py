"""Model cards: read strictly, and held against their model."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.core.card import InputCard, ModelCard, TaskCard, card_beside, card_from_toml, check_card
from edgewright.core.errors import Rejected
from edgewright.core.tensors import TensorSpec

FULL = """
[inputs.input]
kind = "image"
color = "BGR"
layout = "NHWC"
size = [240, 320]
mean = [104, 117.5, 123.0]
std = [1.0, 2.0, 3.0]
shape_min = [1, 240, 320, 3]
shape_opt = [2, 240, 320, 3]
shape_max = [8, 240, 320, 3]
[inputs.mask]
[task]
kind = "classification"
output = "logits"
"""
IMAGE = TensorSpec("input", "float32", (None, 3, 32, 32))
LOGITS = TensorSpec("logits", "float32", (None, 10))


def card_of(tmp_path: Path, text: str) -> ModelCard:
    (tmp_path / "model.toml").write_text(text)
    return card_from_toml(tmp_path / "model.toml")


def image(**fields: object) -> ModelCard:
    return ModelCard(inputs={"input": InputCard(kind="image", size=(32, 32), **fields)})


def test_every_field_is_read(tmp_path: Path) -> None:
    expected = ModelCard(
        inputs={
            "input": InputCard(
                kind="image",
                color="BGR",
                layout="NHWC",
                size=(240, 320),
                mean=(104.0, 117.5, 123.0),
                std=(1.0, 2.0, 3.0),
                shape_min=(1, 240, 320, 3),
                shape_opt=(2, 240, 320, 3),
                shape_max=(8, 240, 320, 3),
            ),
            "mask": InputCard(),
        },
        task=TaskCard(kind="classification", output="logits"),
    )

    assert card_of(tmp_path, FULL) == expected


def test_an_empty_card_says_arrays_and_other(tmp_path: Path) -> None:
    card = card_of(tmp_path, "")

    assert (card.input_card("anything").kind, card.task.kind, card.task.output) == ("array", "other", None)


def test_the_card_lies_beside_its_model_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "net.v1.toml").write_text(FULL)
    (tmp_path / "net.toml").write_text("")

    assert card_beside(tmp_path / "net.v1.onnx").task.output == "logits"
    assert card_beside(tmp_path / "other.onnx") == ModelCard()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("input = 1", "'inputs'"),
        ("[inputs.x]\nlayuot = 'NCHW'", "'layout'"),
        ("[task]\nkinds = 'other'", "'kind'"),
        ("[inputs.x]\nshape = [1]", "'shape_"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(Rejected, match=r"model\.toml") as caught:
        card_of(tmp_path, text)

    assert caught.value.code == "card-unknown-key"
    assert hint in caught.value.next_step


@pytest.mark.parametrize(
    "text",
    [
        "inputs = 1",
        "[inputs]\ninput = 3",
        "task = []",
        "[task]\nkind = 'guess'",
        "[inputs.x]\nkind = 'video'",
        "[inputs.x]\nkind = 'image'",
        "[inputs.x]\nkind = 'image'\nsize = [0, 5]",
        "[inputs.x]\nkind = 'image'\nsize = [5]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 100000]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 123456789012345678901234567890]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 5]\nmean = [1.0, 2.0]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 5]\nmean = [nan, 1.0, 1.0]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 5]\nmean = ['a', 1.0, 1.0]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 5]\nstd = [0.0, 1.0, 1.0]",
        "[inputs.x]\nkind = 'image'\nsize = [5, 5]\nstd = [-1.0]",
        "[inputs.x]\nkind = 'image'\ncolor = 'GRAY'\nsize = [5, 5]\nstd = [1.0, 1.0, 1.0]",
        "[inputs.x]\nshape_min = [1, 2]",
        "[inputs.x]\nshape_min = [1]\nshape_opt = [1, 2]\nshape_max = [1]",
        "[inputs.x]\nshape_min = []\nshape_opt = [1]\nshape_max = [1]",
        "[inputs.x]\nshape_min = [2]\nshape_opt = [1]\nshape_max = [3]",
        "[inputs.x]\nshape_min = [0]\nshape_opt = [1]\nshape_max = [3]",
    ],
)
def test_a_value_that_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Rejected) as caught:
        card_of(tmp_path, text)

    assert caught.value.code == "card-bad-value"


def test_one_mean_for_all_channels_is_enough(tmp_path: Path) -> None:
    card = card_of(tmp_path, "[inputs.x]\nkind = 'image'\nsize = [5, 5]\nmean = [127.5]\nstd = [127.5]")

    assert card.inputs["x"].mean == (127.5,)


def test_a_card_that_fits_its_model_is_accepted() -> None:
    check_card(image(), [IMAGE], [LOGITS])
    check_card(image(color="GRAY", layout="NHWC"), [TensorSpec("input", "uint8", (1, 32, None, 1))], [LOGITS])
    check_card(ModelCard(task=TaskCard(kind="classification")), [IMAGE], [LOGITS])


def test_a_card_for_an_absent_input_names_the_nearest() -> None:
    with pytest.raises(Rejected) as caught:
        check_card(ModelCard(inputs={"imput": InputCard()}), [IMAGE], [LOGITS])

    assert (caught.value.code, caught.value.next_step) == ("card-mismatch", "Did you mean 'input'?")


def test_a_card_for_an_absent_output_names_the_nearest() -> None:
    with pytest.raises(Rejected) as caught:
        check_card(ModelCard(task=TaskCard(kind="classification", output="logit")), [IMAGE], [LOGITS])

    assert (caught.value.code, caught.value.next_step) == ("card-mismatch", "Did you mean 'logits'?")


@pytest.mark.parametrize(
    ("card", "shape"),
    [
        (image(), (None, 3, 32, 33)),
        (image(), (None, 1, 32, 32)),
        (image(), (None, 32, 32, 3)),
        (image(layout="NHWC"), (None, 3, 32, 32)),
        (image(color="GRAY"), (None, 3, 32, 32)),
        (image(), (3, 32, 32)),
        (image(), ()),
        (image(shape_min=(1, 3, 32, 32), shape_opt=(2, 3, 32, 32), shape_max=(2, 3, 32, 32)), (1, 3, 32, 32)),
        (image(shape_min=(1, 3), shape_opt=(1, 3), shape_max=(1, 3)), (None, 3, 32, 32)),
    ],
)
def test_a_card_that_makes_other_tensors_is_refused(card: ModelCard, shape: tuple[int | None, ...]) -> None:
    with pytest.raises(Rejected) as caught:
        check_card(card, [TensorSpec("input", "float32", shape)], [LOGITS])

    assert caught.value.code == "card-mismatch"


def test_a_classifier_with_several_outputs_must_say_which() -> None:
    outputs = [LOGITS, TensorSpec("embedding", "float32", (None, 64))]

    with pytest.raises(Rejected) as caught:
        check_card(ModelCard(task=TaskCard(kind="classification")), [IMAGE], outputs)

    assert (caught.value.code, caught.value.next_step) == ("card-mismatch", "Set task.output")


def test_every_shared_card_is_read(shared_data: Path) -> None:
    cards = {path.stem: card_from_toml(path) for path in (shared_data / "models").glob("*.toml")}

    assert len(cards) >= 7
    assert cards["squeezenet1.1_fp16_opset7"].inputs["data_0"].color == "BGR"
    assert cards["ultraface_rfb320_opset9"].task == TaskCard()
