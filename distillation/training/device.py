"""Where the student trains: on the GPU that PyTorch finds, a Jetson's too, else on the processor. The teacher's runner is not PyTorch's concern."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def training_device() -> Any:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tensor_of(array: Any, device: Any) -> Tensor:
    """A numpy array as a tensor on `device`; on the processor it shares its memory."""
    return torch.from_numpy(array).to(device)


def array_of(value: Tensor) -> Any:
    return value.detach().cpu().numpy()
