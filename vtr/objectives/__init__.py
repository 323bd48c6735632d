"""What training asks of a model: a batch and a seed in, named loss terms out.

An objective is an `nn.Module` around the model, called as `objective(batch, seed, masked=True) -> {term: loss}`.
"""
