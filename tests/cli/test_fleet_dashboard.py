from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("starlette", reason="the page needs pip install 'edgewright[dashboard]'")


@pytest.fixture
def state(edgewright, tmp_path):
    edgewright("fleet", "keys", "init", "--state", tmp_path / "state")
    return tmp_path / "state"


def test_it_says_where_it_is_answers_there_and_ends_when_it_is_told(edgewright, state):
    token = edgewright("fleet", "tokens", "create", "ci", "--role", "viewer", "--state", state, "--json").json["token"]
    command = [sys.executable, "-Im", "edgewright.cli.main", "fleet", "dashboard", "--listen", "127.0.0.1:0", "--state", str(state), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            request = urllib.request.Request(f"{ready['address']}/api/v1/overview", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert json.load(answer)["devices"] == 0
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=20)

    assert process.returncode in {0, -15}
    assert token not in errors


def test_it_is_not_served_in_plain_text_to_others(edgewright, state):
    assert edgewright("fleet", "dashboard", "--listen", "0.0.0.0:0", "--state", state, "--json").code == "dashboard-not-encrypted"


@pytest.mark.parametrize("options", [["--tls-key", "k"], ["--tls-certificate", "c", "--tls-key", "k", "--tls-host", "x"]])
def test_options_that_do_not_go_together_are_bad_usage(edgewright, state, tmp_path, options):
    for name in ("c", "k"):
        (tmp_path / name).touch()
    words = [tmp_path / word if word in {"c", "k"} else word for word in options]

    assert edgewright("fleet", "dashboard", *words, "--state", state).status == 2
