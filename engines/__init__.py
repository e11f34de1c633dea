"""ONNX in, runnable engine out: the Backend and Runner seams, one backend per file in `backends`."""
