from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from edgewright.controller.passwords import hash_password, is_password, new_password, read_passwords, set_password
from hypothesis import given
from hypothesis import strategies as st

# Written by mosquitto_passwd 2.0.11.
REAL_FILE = """\
alice:$7$101$4n2cJX+Bcqz6286h$eXbN6etKoyAjURabLj3zoPqsqy2e0tA4yfk1rv93zoUugJCfuQfAieQwOlx9taUBP1k1Eunk8WxM3rEWOuu/NA==
bob:$7$101$ZwNwDebPUHREUtxL$3xpfjIItjzDXlIBL3uZ7fv6NJLv4K9+KS96htaKyrrbLguK6ZFMhIEFuJFPK/UiKdvdA77yLZmOUyfY3R65e2w==
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "passwords"


def test_mosquittos_own_file_is_understood(file: Path) -> None:
    file.write_text(REAL_FILE, encoding="utf-8")
    hashes = read_passwords(file)

    assert is_password("correct horse", hashes["alice"])
    assert is_password("pässwörd", hashes["bob"])
    assert not is_password("correct horse", hashes["bob"])
    assert not is_password("Correct horse", hashes["alice"])


def test_a_password_and_its_hash_fit_each_other_alone() -> None:
    hashed = hash_password("one")

    assert hashed.startswith("$7$")
    assert is_password("one", hashed)
    assert not is_password("two", hashed)
    assert hash_password("one") != hashed  # another salt


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "plain",
        "$6$salt$hash",
        "$7$x$y$z",
        "$7$101$!!!!$AAAA",
        "$7$-5$AAAA$AAAA",
        "$8$101$4n2cJX+Bcqz6286h$eXbN",
        "$7$101$AAAA",
        f"$7${2**70}$AAAA$x",
    ],
)
def test_nothing_fits_a_hash_of_another_form(hashed: str) -> None:
    assert not is_password("", hashed)
    assert not is_password("x", hashed)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_makes_the_comparison_fail(password: str, hashed: str) -> None:
    assert not is_password(password, f"$7$1$AAAA${hashed}")


def test_new_passwords_are_long_and_all_different() -> None:
    passwords = {new_password() for _ in range(50)}

    assert len(passwords) == 50
    assert min(map(len, passwords)) >= 32


def test_a_user_is_added_or_changed_and_the_others_stay(file: Path) -> None:
    set_password(file, "a", "1")
    set_password(file, "b", "2")
    set_password(file, "a", "3")
    hashes = read_passwords(file)

    assert sorted(hashes) == ["a", "b"]
    assert is_password("3", hashes["a"])
    assert is_password("2", hashes["b"])
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_file_means_no_users(file: Path) -> None:
    assert read_passwords(file) == {}


def test_a_user_is_added_when_the_one_before_is_done(file: Path) -> None:
    adding = threading.Thread(target=set_password, args=(file, "a", "1"))
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adding.start()
        adding.join(0.2)
        assert adding.is_alive()
    adding.join(60)

    assert list(read_passwords(file)) == ["a"]


def test_several_processes_may_add_users_at_once(file: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom edgewright.controller.passwords import set_password\n"
    code += "for number in range(10):\n    set_password(Path(sys.argv[1]), f'{sys.argv[2]}-{number}', 'x')"
    processes = [subprocess.Popen([sys.executable, "-I", "-c", code, str(file), name]) for name in ("a", "b", "c")]

    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(read_passwords(file)) == 30
