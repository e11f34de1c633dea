"""Distillation: a small student learns from a teacher that stays ONNX. PyTorch is imported below `training` alone."""
