"""What a model is worth and what it took: figures, and their parts of a page."""
