from __future__ import annotations

import pytest
from edgewright.engines.compatibility import runs_on, runs_with


@pytest.mark.parametrize(
    ("built", "here", "expected"),
    [
        ("10.3.0", "10.3.0", True),
        ("10.3.0", "10.13.3.9", True),
        ("10.13.3.9", "10.3.0", False),
        ("8.6.1", "10.3.0", True),
        ("10.16.1.11", "11.4.0.106", True),
        ("8.6.1", "11.0.0.114", False),
        ("11.0.0.114", "10.16.1.11", False),
        ("", "10.3.0", False),
    ],
)
def test_version_compatible_plans_run_with_later_releases_of_their_major_and_the_next(built, here, expected):
    assert runs_with(built, here) is expected


@pytest.mark.parametrize(
    ("processor", "expected"),
    [("Orin (SM87)", True), ("NVIDIA RTX A4000 (SM86)", True), ("Thor (SM110)", True), ("Xavier (SM72)", False), ("AMD EPYC", False)],
)
def test_hardware_compatible_plans_run_on_ampere_and_later(processor, expected):
    assert runs_on(processor) is expected
