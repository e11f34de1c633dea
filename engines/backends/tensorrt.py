"""TensorRT 8.6 to 11: plans for this device's NVIDIA GPU and DLA. On Jetson it comes with JetPack, never by pip."""

from __future__ import annotations

from ..trt.family import TensorRtFamily

BACKEND = TensorRtFamily("tensorrt")
