from __future__ import annotations

import os

import pytest
from edgewright.cli.output import CANDIDATE_COLUMNS, candidate_rows, latency_line, new_folder, number, percent, prepare_out, print_table, size
from edgewright.core.errors import Rejected
from edgewright.core.measurement import Candidate, Energy, Fidelity, Latency

LATENCY = Latency(mean=7.119, p50=7.119, p90=9, p99=16.134, samples=500, throughput_per_s=125.4)


def candidate(name):
    fidelity = Fidelity(top1_fp32=0.612, top1=0.608, agreement=0.964, sqnr_db=35.16, samples=500)
    energy = Energy(mean=123.456, ci95=(120, 126), source="ina3221")
    return Candidate(name=name, backend="b", path="p", size_bytes=4_950_000, latency_ms=LATENCY, energy_mj=energy, fidelity=fidelity)


def test_numbers_for_people():
    assert (percent(0.5), percent(None)) == ("50.0 %", "–")
    assert (number(1.234, "ms", 1), number(None, "ms")) == ("1.2 ms", "–")
    assert (size(1_330_000), size(93_027)) == ("1.33 MB", "93.0 kB")
    assert latency_line(LATENCY) == "mean 7.119 ms, p50 7.119, p90 9.000, p99 16.134 (500 calls)"


def test_the_reference_is_not_compared_with_itself():
    reference, other = candidate_rows((candidate("fp32"), candidate("int8")), candidate("int8"))

    assert reference == ["fp32", "4.95 MB", "60.8 %", "–", "–", "7.119", "16.134", "125", "123.46"]
    assert other[0] == "int8 ✓"
    assert other[3:5] == ["96.4 %", "35.2 dB"]


def test_the_candidates_table_fits_eighty_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    print_table(CANDIDATE_COLUMNS, candidate_rows((candidate("fp32"), candidate("int8")), None))

    lines = capsys.readouterr().out.rstrip().splitlines()
    rows = [line for line in lines if "MB" in line]
    assert len(rows) == 2
    assert all(len(line) <= 80 for line in lines)
    assert all("123.46" in row and "16.134" in row for row in rows)


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    assert prepare_out(tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(("make", "code"), [("file", "out-not-folder"), ("full", "out-not-empty"), ("under a file", "out-unwritable")])
def test_nothing_that_exists_is_overwritten(tmp_path, make, code):
    out = tmp_path / "out"
    if make == "full":
        out.mkdir()
        (out / "precious").touch()
    else:
        out.touch()
    before = sorted(path.name for path in tmp_path.rglob("*"))

    with pytest.raises(Rejected) as caught:
        prepare_out(out / "below" if make == "under a file" else out)

    assert caught.value.code == code
    assert before == sorted(path.name for path in tmp_path.rglob("*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    try:
        for out in (tmp_path, tmp_path / "below"):
            with pytest.raises(Rejected) as caught:
                prepare_out(out)
            assert caught.value.code == "out-unwritable"
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_folder_as_it_was(tmp_path, was_there, error):
    out = tmp_path / "out"
    if was_there:
        out.mkdir()

    def fail():
        with new_folder(out) as folder:
            (folder / "half").mkdir()
            (folder / "half" / "written").touch()
            (folder / "file").touch()
            (folder / "link").symlink_to("/etc")
            raise error

    with pytest.raises(error):
        fail()

    assert out.exists() is was_there
    assert not was_there or not any(out.iterdir())


def test_success_keeps_what_was_written(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").touch()

    assert (tmp_path / "out" / "file").exists()
