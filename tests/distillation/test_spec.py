from __future__ import annotations

import pytest
from edgewright.core.errors import Rejected
from edgewright.distillation.spec import Stage, StudentSpec, spec_from_text


def test_a_spec_says_blocks_widths_depths_and_strides():
    spec = spec_from_text("shrink:2, plain:16/2,separable:32x2/2x1")

    assert spec == StudentSpec((Stage("plain", 16, 1, (2, 2)), Stage("separable", 32, 2, (2, 1))), 2)


@pytest.mark.parametrize("text", ["plain:16", "plain:16/2,fire:32x3", "shrink:4,inverted:8x2/2x1,grouped:16"])
def test_a_spec_is_written_as_it_is_read(text):
    assert str(spec_from_text(text)) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "''"),
        ("plain", "'plain'"),
        ("plain:0", "'plain:0'"),
        ("plain:16x0", "'plain:16x0'"),
        ("plain:16/9", "'plain:16/9'"),
        ("plain:4000", "'plain:4000'"),
        ("plane:16", "'plane'"),
        ("shrink:0,plain:8", "shrink:0"),
        ("shrink:²,plain:8", "shrink:²"),
        ("shrink:2", "0"),
        (",".join(["plain:8"] * 17), "17"),
    ],
)
def test_a_spec_that_cannot_be_read_is_refused_naming_the_part(text, what):
    with pytest.raises(Rejected) as caught:
        spec_from_text(text)

    assert caught.value.code == "student-spec-bad"
    assert what in caught.value.message
    assert caught.value.next_step
