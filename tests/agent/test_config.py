"""agent.toml: every unknown key, wrong type and value out of range is one clear refusal; what is right becomes absolute and frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from edgewright.agent.config import AgentConfig, AgentFile, ModelSection, config_from_toml
from edgewright.core.errors import Rejected

MINIMAL = 'fleet = "f"\ndevice = "d"\n[broker]\nhost = "localhost"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text, "utf-8")
    return path


def refused(folder: Path, text: str) -> Rejected:
    with pytest.raises(Rejected) as caught:
        config_from_toml(written(folder, text))
    return caught.value


def test_the_least_file_has_every_default(tmp_path: Path) -> None:
    config = config_from_toml(written(tmp_path, MINIMAL))

    assert (config.fleet, config.device, config.broker.host, config.broker.port) == ("f", "d", "localhost", 8883)
    assert (config.state, config.socket) == (Path("/var/lib/edgewright"), Path("/run/edgewright/agent.sock"))
    assert (config.limits.window, config.telemetry.interval_s, config.models) == (8, 60.0, {})
    assert config.model("anything") == ModelSection()


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = config_from_toml(written(tmp_path, MINIMAL + '[paths]\nstate = "state"\ntrust = "../trust"\nsocket = "/run/x.sock"\n'))

    assert (config.state, config.trust, config.socket) == (tmp_path / "state", tmp_path / "../trust", Path("/run/x.sock"))


def test_a_model_s_commands_are_read(tmp_path: Path) -> None:
    config = config_from_toml(written(tmp_path, MINIMAL + '[models.a]\nactivate = ["systemctl", "restart", "app"]\nhealth_interval_s = 2\n'))

    assert config.model("a").activate == ("systemctl", "restart", "app")
    assert config.model("a").health_interval_s == 2.0


SECTIONS: dict[str, type[msgspec.Struct]] = {
    field.name: field.type for field in msgspec.structs.fields(AgentFile) if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
}


@pytest.mark.parametrize("section", [*SECTIONS, "models.a"])
def test_every_misspelt_key_of_every_section_is_refused_with_the_nearest(section: str, tmp_path: Path) -> None:
    fields = msgspec.structs.fields(SECTIONS.get(section, ModelSection))
    for field in fields:
        head = 'fleet = "f"\ndevice = "d"\n' if section == "broker" else MINIMAL
        error = refused(tmp_path, f"{head}[{section}]\n{field.name}x = 1\n")

        assert (error.code, error.next_step) == ("config-unknown-key", f"Did you mean {field.name!r}?")
        assert f"{section}.{field.name}x" in error.message


def test_a_misspelt_key_at_the_top_is_refused_with_the_nearest(tmp_path: Path) -> None:
    assert refused(tmp_path, "flet = 1\n" + MINIMAL).next_step == "Did you mean 'fleet'?"
    assert refused(tmp_path, MINIMAL + "[limit]\n").next_step == "Did you mean 'limits'?"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("broker.port = 0", "port"),
        ("broker.port = 65536", "port"),
        ('broker.port = "1883"', "port"),
        ("broker.port = true", "port"),
        ("broker.host = ''", "host"),
        ("broker.keepalive_s = 4", "keepalive_s"),
        ("broker.reconnect_min_s = 0.01", "reconnect_min_s"),
        ("broker.reconnect_min_s = 40", "reconnect_max_s"),
        ("broker.tls_certificate = 'c'\nbroker.tls_key = 'k'", "tls_ca"),
        ("broker.tls_ca = 'a'\nbroker.tls_key = 'k'", "tls_certificate"),
        ("limits.max_deployment_bytes = 0", "max_deployment_bytes"),
        ("limits.min_free_bytes = -1", "min_free_bytes"),
        ("limits.max_build_s = 0.5", "max_build_s"),
        ("limits.max_build_s = nan", "max_build_s"),
        ("limits.max_build_s = inf", "max_build_s"),
        ("limits.max_build_memory_mb = 1", "max_build_memory_mb"),
        ("limits.max_deadline_s = 0", "max_deadline_s"),
        ("limits.max_probation_s = -1", "max_probation_s"),
        ("limits.max_starts = 0", "max_starts"),
        ("limits.window = 21", "window"),
        ("limits.window = 1.5", "window"),
        ("limits.chunk_timeout_s = 0", "chunk_timeout_s"),
        ("limits.outbox_events = 1", "outbox_events"),
        ("optimize.threads = 0", "threads"),
        ("optimize.bench_seconds = 0", "bench_seconds"),
        ("optimize.nice = 20", "nice"),
        ("telemetry.interval_s = 0.5", "interval_s"),
        ("telemetry.interval_s = -1", "interval_s"),
        ("models.a.health_interval_s = 0", "health_interval_s"),
        ("models.a.health_interval_s = nan", "health_interval_s"),
        ("models.a.command_timeout_s = 0", "command_timeout_s"),
        ("models.a.activate = 'systemctl restart app'", "activate"),
        ("models.a.activate = ['']", "activate"),
        ("paths.state = 5", "state"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(text: str, word: str, tmp_path: Path) -> None:
    head = 'fleet = "f"\ndevice = "d"\n'
    head += "" if text.startswith("broker.host") else 'broker.host = "localhost"\n'
    error = refused(tmp_path, head + text + "\n")

    assert error.code == "config-bad-value"
    assert word in error.message
    assert error.next_step


@pytest.mark.parametrize("name", ["", "Capital", "under_score", "../up", "a" * 65])
def test_a_name_that_cannot_stand_in_a_topic_is_refused(name: str, tmp_path: Path) -> None:
    assert refused(tmp_path, MINIMAL.replace('"f"', f'"{name}"')).code == "bad-name"
    assert refused(tmp_path, MINIMAL.replace('"d"', f'"{name}"')).code == "bad-name"
    assert refused(tmp_path, f'{MINIMAL}[models."{name}"]\n').code == "bad-name"


@pytest.mark.parametrize("text", ["", 'fleet = "f"\ndevice = "d"\n', MINIMAL.replace('fleet = "f"', "")])
def test_what_must_be_there_is_missed_by_name(text: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)

    assert (error.code, "missing required field" in error.message) == ("config-bad-value", True)


def test_a_file_that_is_no_toml_or_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "= =").code.startswith("config-")
    with pytest.raises(Rejected, match=r"absent\.toml"):
        config_from_toml(tmp_path / "absent.toml")


def test_a_configuration_is_a_value(tmp_path: Path) -> None:
    config: Any = config_from_toml(written(tmp_path, MINIMAL))

    assert isinstance(config, AgentConfig)
    with pytest.raises(AttributeError):
        config.fleet = "other"
