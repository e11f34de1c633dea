from __future__ import annotations


def test_a_machine_without_sensors_exits_with_zero_and_a_reason(edgewright, tmp_path):
    ran = edgewright("power", "--root", tmp_path, "--json")

    assert ran.status == 0
    assert [{key: rail[key] for key in ("label", "mean_mw", "sensor")} for rail in ran.json["rails"]] == []
    assert ran.json["total"] is None
    assert ran.json["total_reason"]
    assert ran.json["samples"] == 0


def test_a_board_is_read_rail_by_rail(edgewright, load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)

    ran = edgewright("power", "--root", tmp_path, "--seconds", "0.2", "--json")

    assert [{key: rail[key] for key in ("label", "mean_mw", "sensor")} for rail in ran.json["rails"]] == [
        {"label": "VDD_IN", "mean_mw": 5300.0, "sensor": "ina3221"},
        {"label": "VDD_CPU_GPU_CV", "mean_mw": 775.0, "sensor": "ina3221"},
        {"label": "VDD_SOC", "mean_mw": 1425.0, "sensor": "ina3221"},
    ]
    assert ran.json["total"] == {"mean_mw": 5300.0, "rails": ["VDD_IN"], "scope": "module"}
    assert ran.json["total_reason"] is None
    assert ran.json["samples"] >= 2
    assert ran.json["seconds"] >= 0.2


def test_an_unknown_board_has_rails_and_no_total(edgewright, load_fake, tmp_path):
    load_fake("sysfs").ina3221(tmp_path, [("MYSTERY", 5000, 100)])

    ran = edgewright("power", "--root", tmp_path, "--seconds", "0.1", "--json")

    assert ran.json["rails"][0]["mean_mw"] == 500.0
    assert ran.json["total"] is None
    assert "not known" in ran.json["total_reason"]


def test_a_rail_of_the_total_that_does_not_answer_is_named(edgewright, load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").write_text("")

    ran = edgewright("power", "--root", tmp_path, "--seconds", "0.1", "--json")

    assert ran.json["rails"][0]["mean_mw"] is None
    assert ran.json["total"] is None
    assert "VDD_IN" in ran.json["total_reason"]


def test_people_read_a_table_and_the_total(edgewright, load_fake, tmp_path):
    load_fake("sysfs").orin_nano(tmp_path)

    ran = edgewright("power", "--root", tmp_path, "--seconds", "0.1")

    assert "VDD_SOC" in ran.out
    assert ran.out.splitlines()[-1] == "total: 5300 mW (module)"
