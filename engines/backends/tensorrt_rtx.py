"""TensorRT-RTX: plans for NVIDIA RTX GPUs of PCs and workstations; it knows neither Jetson Orin nor data-centre Hopper."""

from __future__ import annotations

from ..trt.family import TensorRtFamily

BACKEND = TensorRtFamily("tensorrt_rtx")
