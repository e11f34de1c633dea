from __future__ import annotations

import csv
import io

import pytest
from edgewright.controller.audit import note
from edgewright.controller.exports import export

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_compute_stays_text(database, text):
    with database.transaction() as session:
        note(session, text, "a", "b", NOW_S, "plain")
    (row,) = csv.DictReader(io.StringIO("".join(export(database, "audit", "csv")), newline=""))

    assert (row["actor"], row["detail"]) == (f"'{text}", "plain")


def test_more_rows_than_one_look_brings_are_all_written(database, orders):
    orders.enroll_many([f"x-{number:04}" for number in range(2100)], NOW_S)
    names = [line.split(",")[0] for line in "".join(export(database, "devices", "csv")).splitlines()]

    assert names == ["name", "board-1", "board-2", *(f"x-{number:04}" for number in range(2100))]
