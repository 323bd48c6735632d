"""Encoders of clips and captions."""
