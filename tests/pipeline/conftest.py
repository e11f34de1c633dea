"""A machine with a TensorRT that is not there."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from edgewright.engines import cuda
from edgewright.engines.trt import family


@pytest.fixture
def jetson(load_fake, monkeypatch):
    """``jetson("10.3")`` makes this machine one with that TensorRT, a fake GPU and a fake pycuda."""
    fake_cuda, fake_trt = load_fake("pycuda"), load_fake("tensorrt")
    status = cuda.CudaStatus(cuda.CudaDevice("Orin", "8.7", "12.6"))

    def become(release, **settings):
        memory = fake_cuda.Memory()
        driver = fake_cuda.make_driver(memory)
        package = ModuleType("pycuda")
        package.driver = driver
        for name, module in {"pycuda": package, "pycuda.driver": driver}.items():
            monkeypatch.setitem(sys.modules, name, module)
        told = fake_trt.Settings(memory, **settings)
        monkeypatch.setitem(sys.modules, "tensorrt", fake_trt.make_module(release, told))
        monkeypatch.setattr(family, "cuda_status", lambda _index=0: status)
        return told

    return become
