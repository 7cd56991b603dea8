"""What the converter, the training and the evaluation share: the networks, their ONNX graphs, the pack on disk."""
