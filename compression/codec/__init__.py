"""A lossless codec for ONNX models on flash and on the wire: few distinct values become tables and indices, entropy coded."""
