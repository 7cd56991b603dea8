"""What a network is trained on, and what its result is judged by."""
