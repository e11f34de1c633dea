from __future__ import annotations


def test_names_the_board_the_backends_and_the_sensors(edgewright):
    ran = edgewright("doctor", "--json")

    assert ran.status == 0
    assert ran.json["board"]["model"]
    assert {"onnxruntime", "null"} <= {entry["name"] for entry in ran.json["backends"]}
    for entry in (*ran.json["backends"], *ran.json["sensors"]):
        assert entry["usable"] or entry["reason"]


def test_another_root_is_another_board(edgewright, load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)

    ran = edgewright("doctor", "--root", tmp_path, "--json")

    assert ran.json["board"]["model"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert {entry["name"]: entry["usable"] for entry in ran.json["sensors"]}["ina3221"] is True


def test_an_empty_root_exits_with_zero_and_reasons(edgewright, tmp_path):
    ran = edgewright("doctor", "--root", tmp_path, "--json")

    assert ran.status == 0
    assert not any(entry["usable"] for entry in ran.json["sensors"])


def test_people_read_a_table(edgewright):
    ran = edgewright("doctor")

    assert ran.out.startswith("board: ")
    assert "backend onnxruntime" in ran.out
