"""The one adapter for the TensorRT family: TensorRT 8.6 to 11 and TensorRT-RTX, told apart by what they have."""
