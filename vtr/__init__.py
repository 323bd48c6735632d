"""Efficient video-text retrieval by masked pretraining."""
