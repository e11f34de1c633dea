"""Second moments of a layer's columns, against columns taken apart by loops."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.calibration.columns import ColumnMoments

RANDOM = np.random.default_rng(9)


def loops(values, kernel, strides, pads, dilations):
    """places × channels × taps, tap by tap."""
    padded = np.pad(values, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    found = []
    for sample in padded:
        for row in range(0, padded.shape[2] - spans[0] + 1, strides[0]):
            for column in range(0, padded.shape[3] - spans[1] + 1, strides[1]):
                part = sample[:, row : row + spans[0] : dilations[0], column : column + spans[1] : dilations[1]]
                found.append(part.reshape(len(part), -1))
    return np.array(found, np.float64)


def moments(columns):
    centred = columns - columns.mean(axis=0)
    return centred.T @ centred / len(columns)


CASES = [
    {"kernel_shape": [3, 3]},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    {"kernel_shape": [1, 3], "pads": [0, 2, 0, 1], "dilations": [1, 2]},
    {"kernel_shape": [1, 1]},
]


@pytest.mark.parametrize("attributes", CASES)
def test_a_convolutions_moments_are_those_of_its_columns(models, attributes):
    values = RANDOM.normal(size=(2, 3, 7, 6)).astype(np.float32)
    node = models.node("Conv", ["x", "w"], ["y"], **attributes)
    kernel = attributes["kernel_shape"]
    found = ColumnMoments.of(node, (5, 3 * kernel[0] * kernel[1]), 1)

    for part in (values[:1], values[1:]):
        found.add(part)

    defaults = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1]} | attributes
    columns = loops(values, kernel, defaults["strides"], defaults["pads"], defaults["dilations"])
    assert found.seen == len(columns)
    np.testing.assert_allclose(next(found.groups()), moments(columns.reshape(len(columns), -1)), rtol=1e-4, atol=1e-5)


def test_a_depthwise_convolution_has_one_matrix_per_channel(models):
    values = RANDOM.normal(size=(2, 4, 6, 6)).astype(np.float32)
    found = ColumnMoments.of(models.node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], group=4), (4, 9), 1)
    found.add(values)

    columns = loops(values, [3, 3], [1, 1], [0, 0, 0, 0], [1, 1])
    matrices = list(found.groups())
    assert len(matrices) == 4
    for channel, matrix in enumerate(matrices):
        np.testing.assert_allclose(matrix, moments(columns[:, channel]), rtol=1e-4, atol=1e-5)


def test_a_matrix_products_columns_are_its_inputs(models):
    values = RANDOM.normal(size=(40, 5)).astype(np.float32)
    found = ColumnMoments.of(models.node("Gemm", ["x", "w"], ["y"]), (3, 5), 1)
    found.add(values)

    np.testing.assert_allclose(next(found.groups()), moments(values.astype(np.float64)), rtol=1e-4, atol=1e-6)


def test_places_are_bounded_however_large_the_picture_is(models):
    node = models.node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])
    found = ColumnMoments.of(node, (4, 2), 1)
    found.add(np.ones((1, 2, 300, 300), np.float32))

    assert found.seen == 2049


@pytest.mark.parametrize(
    ("op", "attributes", "rows"),
    [("Conv", {"kernel_shape": [3]}, (4, 6)), ("Conv", {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, (4, 9)), ("Gemm", {}, (4, 9000))],
)
def test_what_is_not_taken_apart_is_none(models, op, attributes, rows):
    assert ColumnMoments.of(models.node(op, ["x", "w"], ["y"], **attributes), rows, 1) is None
