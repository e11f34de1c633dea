from __future__ import annotations

import pytest
from edgewright.core.errors import Rejected
from edgewright.core.tensors import TensorSpec
from edgewright.core.toml import decode_toml
from edgewright.engines.base import ShapeProfile
from edgewright.engines.shapes import concrete_shapes, profile_toml, profiles_for

FREE = TensorSpec("frame 1", "float32", (None, 3, None, None))
BATCH = TensorSpec("x", "float32", (None, 4))
FIXED = TensorSpec("y", "float32", (2, 4))


def test_shapes_are_as_said_or_the_models_own():
    assert concrete_shapes([BATCH, FIXED], {"x": (5, 4)}) == {"x": (5, 4), "y": (2, 4)}


@pytest.mark.parametrize("shapes", [{}, {"x": (5, 3)}, {"x": (5,)}, {"x": (5, 4), "y": (3, 4)}])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(Rejected) as caught:
        concrete_shapes([BATCH, FIXED], shapes)

    assert caught.value.code == "feeds-mismatch"


def test_only_free_axes_need_a_profile():
    assert profiles_for([FIXED], {}, 1) == {}
    assert profiles_for([BATCH], {}, 3) == {"x": ShapeProfile((3, 4), (3, 4), (3, 4))}


def test_a_profile_that_contradicts_the_model_is_refused():
    with pytest.raises(Rejected) as caught:
        profiles_for([BATCH], {"x": ShapeProfile((1, 4), (1, 5), (1, 4))}, 1)

    assert caught.value.code == "profile-mismatch"


def test_the_printed_profile_is_a_valid_card_that_fits_the_model(tmp_path):
    (tmp_path / "m.toml").write_text(profile_toml([FREE, BATCH]), "utf-8")

    inputs = decode_toml(tmp_path / "m.toml", what="card")["inputs"]

    assert sorted(inputs) == ["frame 1", "x"]
    for spec in (FREE, BATCH):
        low, middle, high = (inputs[spec.name][key] for key in ("shape_min", "shape_opt", "shape_max"))
        assert all(1 <= a <= b <= c for a, b, c in zip(low, middle, high, strict=True))
        assert all(want in {None, have} for want, have in zip(spec.shape, middle, strict=True))
