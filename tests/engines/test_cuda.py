"""Which CUDA device there is, asked of a driver library that is made of a few C functions in Python."""

from __future__ import annotations

import ctypes

import pytest
from edgewright.engines import cuda


@pytest.fixture
def driver(monkeypatch):
    """``driver(init=0, count=1)`` is the answer of the machine's libcuda."""

    class Library:
        def __init__(self, init, count):
            self._init, self._count = init, count

        def cuInit(self, _flags):  # noqa: N802 - the driver's names
            return self._init

        def cuDeviceGetCount(self, count):  # noqa: N802
            count._obj.value = self._count
            return 0

        def cuDeviceGet(self, device, index):  # noqa: N802
            device._obj.value = index
            return 0

        def cuDeviceGetName(self, name, length, _device):  # noqa: N802
            assert length == 256
            name.value = b"Orin"
            return 0

        def cuDeviceGetAttribute(self, value, attribute, _device):  # noqa: N802
            value._obj.value = {75: 8, 76: 7}[attribute]
            return 0

        def cuDriverGetVersion(self, version):  # noqa: N802
            version._obj.value = 12060
            return 0

    def be(init=0, count=1):
        monkeypatch.setattr(cuda.ctypes, "CDLL", lambda _name: Library(init, count))
        cuda.cuda_status.cache_clear()

    yield be
    monkeypatch.undo()
    cuda.cuda_status.cache_clear()


def test_a_device_is_named_with_its_capability_and_driver(driver):
    driver()

    device = cuda.cuda_status().device

    assert device == cuda.CudaDevice("Orin", "8.7", "12.6")
    assert device.words == "Orin (SM87)"


def test_without_a_library_there_is_no_driver(monkeypatch):
    def missing(_name):
        raise OSError

    monkeypatch.setattr(cuda.ctypes, "CDLL", missing)
    cuda.cuda_status.cache_clear()
    try:
        assert "no NVIDIA driver" in cuda.cuda_status().reason
    finally:
        monkeypatch.undo()
        cuda.cuda_status.cache_clear()


@pytest.mark.parametrize(("init", "count", "words"), [(100, 1, "error 100"), (0, 0, "no CUDA device 0")])
def test_a_driver_without_a_device_says_which_step_failed(driver, init, count, words):
    driver(init, count)

    status = cuda.cuda_status()

    assert status.device is None
    assert words in status.reason


def test_asking_leaves_the_machine_as_it_is():
    """The real question, whatever the answer here is."""
    cuda.cuda_status.cache_clear()
    status = cuda.cuda_status()

    assert (status.device is None) is bool(status.reason)
    assert isinstance(ctypes.CDLL(None), ctypes.CDLL)
