import json
import math

import pytest


@pytest.fixture
def distillation(benchmark):
    return benchmark("distillation")


def run_of(top1, agreement=0.5):
    return {"top1": top1, "agreement": agreement}


def test_differences_to_labels_alone_are_taken_seed_by_seed(distillation):
    known = {f"labels|{seed}": run_of(0.2 + 0.1 * seed) for seed in range(3)} | {f"hinton|{seed}": run_of(0.25 + 0.1 * seed) for seed in range(3)}

    rows = distillation.table_of(known)

    # Seeds differ by ten points, and yet hinton is five points better in each: the interval of the difference has no width.
    assert rows[3].split(" | ")[-1] == "5.0 ± 0.0 (s 0.0) |"
    assert rows[2].split(" | ")[2].startswith("30.0 ± 24.8")


def test_an_interval_is_student_s_for_three_seeds(distillation):
    assert distillation.interval([1.0, 2.0, 3.0]) == f"2.0 ± {4.303 / math.sqrt(3):.1f} (s 1.0)"


def test_pieces_that_are_done_are_not_done_again(distillation, tmp_path):
    path = tmp_path / "state.json"
    distillation.Pieces([path], None).do("one", lambda: run_of(0.5))
    again = distillation.Pieces([path], None)
    again.do("one", lambda: pytest.fail("it was done again"))

    assert again.known == {"one": run_of(0.5)} == json.loads(path.read_text())


def test_when_the_time_is_over_no_piece_begins(distillation):
    pieces = distillation.Pieces([], 0)
    pieces.do("one", lambda: pytest.fail("it began"))

    assert pieces.left == 1


def test_a_quick_run_of_the_losses_does_every_piece(start_benchmark, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: make torch")
    state = tmp_path / "state.json"
    state.write_text(json.dumps({f"{name}|{seed}": run_of(0.5) for name in NAMES for seed in (1, 2)}))
    process = start_benchmark("distillation", "--images", "48", "--epochs", "1", "--state", str(state), "--json")
    output, errors = process.communicate(timeout=300)

    assert process.returncode == 0, errors
    pieces = json.loads(output.splitlines()[-1])["pieces"]
    assert len(pieces) == 30
    assert all(0 <= pieces[f"{name}|0"]["agreement"] <= 1 and pieces[f"{name}|0"]["macs_ratio"] <= 0.25 for name in NAMES)


NAMES = (
    "labels", "hinton", "labels,hinton", "labels,outputs=4", "labels,feature_distance=2", "labels,hints=2", "labels,correlation=20",
    "labels,activation_sequence=4", "activation_sequence", "labels,hinton,hints=2,activation_sequence=2",
)  # fmt: skip
