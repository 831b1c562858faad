"""A run directory's files: which there are, what they say, who may write them."""
