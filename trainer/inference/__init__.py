"""Predictions on encrypted images: the server sees neither the images nor what it predicts."""
