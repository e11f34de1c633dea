"""Least squares towards the original's recorded activations, layer by layer: what repairs a compressed network without labels or gradients."""
