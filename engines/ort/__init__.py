"""What the ONNX Runtime backend is made of: provider options, sessions, runners, times of layers."""
