import json

import pytest


@pytest.fixture
def distillation(benchmark):
    return benchmark("distillation")


def run_of(top1, agreement=0.5):
    return {"top1": top1, "agreement": agreement}


def test_who_is_faster_and_better_than_the_found_student_is_named(distillation):
    known = {"search": {"spec": "found"}, "times": {"slow": 3.0, "quick": 1.0, "found": 2.0}}
    known |= {f"{spec}|{seed}": run_of(top1) for spec, top1 in (("slow", 0.9), ("quick", 0.7), ("found", 0.8)) for seed in range(2)}

    assert distillation.front_of(known)[-1] == "the search chose found; faster and better than that: none"
    known["quick|0"] = run_of(0.95)
    assert distillation.front_of(known)[-1] == "the search chose found; faster and better than that: quick"


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
