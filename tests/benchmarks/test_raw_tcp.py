import hashlib
import random

import pytest


@pytest.fixture
def raw_tcp(benchmark):
    return benchmark("raw_tcp")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(random.Random(7).randbytes(3_000_001))
    return path


def test_what_arrives_is_on_disk_under_its_digest(raw_tcp, source, tmp_path):
    data, folder = source.read_bytes(), tmp_path / "received"
    folder.mkdir()
    digest = hashlib.sha256(data).hexdigest()

    seconds = raw_tcp.send_and_time(source, digest, folder)

    assert [(path.name, path.read_bytes() == data) for path in folder.iterdir()] == [(digest, True)]
    assert seconds > 0


def test_bytes_that_were_not_announced_do_not_count(raw_tcp, source, tmp_path):
    folder = tmp_path / "received"
    folder.mkdir()

    with pytest.raises(ConnectionError, match="do not have the announced digest"):
        raw_tcp.send_and_time(source, "0" * 64, folder)

    assert not (folder / ("0" * 64)).exists()
