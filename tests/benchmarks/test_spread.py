import os
import platform
from pathlib import Path

import pytest

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /tmp rw,nosuid - tmpfs tmpfs rw
31 30 0:27 / /tmp/a\040b rw - xfs /dev/vdb rw
""".lstrip()


@pytest.fixture
def spread(benchmark):
    return benchmark("spread")


def test_a_spread_is_the_middle_and_the_ends(spread):
    assert spread.Spread(median=3.0, min=1.0, max=10.0) == spread.Spread.of([10.0, 1.0, 3.0])
    assert spread.Spread(median=2.5, min=2.0, max=3.0) == spread.Spread.of([3.0, 2.0])


def test_a_spread_is_rounded_to_what_was_asked_for(spread):
    assert spread.Spread(median=1.2, min=1.2, max=1.2) == spread.Spread.of([1.2345], digits=1)


@pytest.mark.parametrize(("folder", "kind"), [("/home", "ext4"), ("/tmp/x", "tmpfs"), ("/tmp/a b/c", "xfs"), ("/tmpfoo", "ext4")])
def test_a_folder_lies_on_the_nearest_file_system_above_it(spread, folder, kind):
    assert kind == spread.file_system(Path(folder), MOUNTS)


def test_conditions_say_what_this_machine_says_itself(spread, tmp_path):
    found = spread.conditions("amqtt", tmp_path)

    assert (platform.release(), platform.python_version(), len(os.sched_getaffinity(0))) == (found.kernel, found.python, found.cores)
    assert found.broker == "amqtt"
    assert found.disk
    assert f"Linux {platform.release()}, Python {platform.python_version()}, amqtt" in spread.conditions_line(found)
