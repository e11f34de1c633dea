"""What needs PyTorch: nothing outside this folder imports it."""
