"""A bundle is bounded, closed to others, lists what it has and what it has not, and overwrites nothing."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest
from edgewright.agent import bundle as module
from edgewright.agent.bundle import MAX_BUNDLE_BYTES, MAX_PIECE_BYTES, Bundle
from edgewright.core.errors import Rejected, Unfit


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]


def test_what_was_added_is_inside_without_what_the_scrubber_takes_and_with_a_list(tmp_path: Path) -> None:
    bundle = Bundle(lambda text: text.replace("secret", "…"))
    bundle.add("a.txt", "the first", lambda: "a secret here")
    bundle.add("b/c.json", "the second", lambda: b'{"x": "secret"}')
    size_bytes = bundle.write(tmp_path / "out.tar.gz")
    found = read(tmp_path / "out.tar.gz")

    assert found["out/a.txt"] == "a … here"
    assert found["out/b/c.json"] == '{"x": "…"}'
    assert "a.txt" in found["out/CONTENTS.txt"]
    assert "the second" in found["out/CONTENTS.txt"]
    assert (tmp_path / "out.tar.gz").stat().st_size == size_bytes
    assert stat.S_IMODE((tmp_path / "out.tar.gz").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Unfit("x", "it is so", "Do that"), "it is so. Do that"),
        (PermissionError(13, "Permission denied", "/a"), "/a: Permission denied"),
        (RuntimeError("odd secret"), "RuntimeError: odd …"),
    ],
)
def test_what_cannot_be_had_costs_only_itself(error: Exception, why: str) -> None:
    def fail() -> str:
        raise error

    bundle = Bundle(lambda text: text.replace("secret", "…"))
    bundle.add("bad.txt", "fails", fail)
    bundle.add("good.txt", "works", lambda: "x")

    assert [(missing.name, missing.why) for missing in bundle.missing] == [("bad.txt", why)]
    assert [piece.name for piece in bundle.pieces] == ["good.txt"]
    assert why in bundle.contents()


def test_a_long_piece_is_cut_at_the_end_that_matters_less_after_its_secrets_went() -> None:
    bundle = Bundle(lambda text: text.replace("secret", ""))
    text = "secret" + "a" * MAX_PIECE_BYTES + "z"
    bundle.add("start", "", lambda: text)
    bundle.add("end", "", lambda: text, keep="end")

    assert [(piece.data[:1], piece.data[-1:], len(piece.data), piece.is_cut) for piece in bundle.pieces] == [
        (b"a", b"a", MAX_PIECE_BYTES, True),
        (b"a", b"z", MAX_PIECE_BYTES, True),
    ]


def test_a_bundle_is_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", 100)
    bundle = Bundle(str)
    for number in range(5):
        bundle.add(str(number), "", lambda: "x" * 40, keep="end")

    assert bundle.size_bytes == 100 < MAX_BUNDLE_BYTES
    assert [piece.is_cut for piece in bundle.pieces] == [False, False, True, True, True]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out.tar.gz").write_text("mine")
    for path, code in ((tmp_path / "out.tar.gz", "out-exists"), (tmp_path / "no" / "out.tar.gz", "out-unwritable")):
        with pytest.raises(Rejected) as caught:
            Bundle(str).write(path)
        assert caught.value.code == code

    assert (tmp_path / "out.tar.gz").read_text() == "mine"
