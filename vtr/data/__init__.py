"""Videos to tars, and tars to batches."""
