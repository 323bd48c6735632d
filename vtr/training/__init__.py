"""The training engine: steps, checkpoints on the way, and what is said about them."""
