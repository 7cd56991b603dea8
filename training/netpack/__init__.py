"""What conversion, training and evaluation share: the networks, their ONNX graphs, the pack on disk."""
