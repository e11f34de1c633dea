"""Activations to range table to Q/DQ model; the TensorRT calibration cache."""
