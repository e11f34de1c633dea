"""Train the demo's surface classifier, and export it as ONNX: how `cli/demo/surface_classifier.onnx` was made.

A depthwise-separable network (inverted residuals as in MobileNetV2, Sandler et al. 2018) of about 0.4 million parameters on 96×96 pictures.

    pip install 'edgewright[distill]'
    python examples/train_surface_classifier.py --out surface_classifier.onnx
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from edgewright.cli.demo.surface import CLASSES, SIZE, surfaces
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval

# (expansion, channels, blocks, stride) of each stage, after a stem of 16 channels at half resolution.
STAGES = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 40, 2, 2), (4, 72, 2, 2), (4, 112, 3, 1))


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if act:
        layers.append(nn.ReLU6())
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        parts = [convolution(inputs, hidden, 1)] if expansion > 1 else []
        parts += [convolution(hidden, hidden, 3, stride=stride, groups=hidden), convolution(hidden, outputs, 1, act=False)]
        self.body = nn.Sequential(*parts)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.has_shortcut else self.body(x)


def make_network() -> nn.Sequential:
    layers: list[nn.Module] = [convolution(3, 16, 3, stride=2)]
    channels = 16
    for expansion, outputs, blocks, stride in STAGES:
        for block in range(blocks):
            layers.append(InvertedResidual(channels, outputs, stride if block == 0 else 1, expansion))
            channels = outputs
    layers += [convolution(channels, 256, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, len(CLASSES))]
    return nn.Sequential(*layers)


def as_tensor(images: np.ndarray) -> torch.Tensor:
    """What the model card says: RGB, NCHW, mean and deviation 127.5."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)


def top1(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    network.eval()
    with torch.no_grad():
        hits = [network(as_tensor(images[i : i + 250])).argmax(1).numpy() == labels[i : i + 250] for i in range(0, len(images), 250)]
    return float(np.concatenate(hits).mean())


def train(network: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, batch: int, seed: int) -> None:
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    order_rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        network.train()
        started = time.monotonic()
        losses = []
        order = order_rng.permutation(len(images))
        for i in range(0, len(order) - batch + 1, batch):
            chosen = np.sort(order[i : i + batch])
            inputs = as_tensor(images[chosen])
            if order_rng.random() < 0.5:
                inputs = inputs.flip(3)
            if order_rng.random() < 0.5:
                inputs = inputs.flip(2)
            loss = cross_entropy(network(inputs), torch.from_numpy(labels[chosen]), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}, {time.monotonic() - started:.0f} s", flush=True)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Replace every convolution + batch norm by one convolution, as a runtime would."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) >= 2 and isinstance(child[1], nn.BatchNorm2d):
            setattr(module, name, nn.Sequential(fuse_conv_bn_eval(child[0], child[1]), *child[2:]))
        else:
            fold_batch_norms(child)
    return module


def export(network: nn.Module, path: Path) -> None:
    network.eval()
    torch.onnx.export(
        fold_batch_norms(network),
        (torch.zeros(1, 3, SIZE, SIZE),),
        str(path),
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(path))
    model.ir_version = min(model.ir_version, 9)
    model.producer_name, model.doc_string = "edgewright examples/train_surface_classifier.py", ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("surface_classifier.onnx"))
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--train-images", type=int, default=16_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    images, labels = surfaces(options.train_images, seed=options.seed)
    network = make_network()
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters, {len(images):,} images")
    train(network, images, labels, options.epochs, options.batch, options.seed)
    print(f"top-1 on 2,000 unseen images: {top1(network, *surfaces(2000, seed=options.seed + 1000)):.4f}")
    export(network, options.out)
    print(f"wrote {options.out}, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
