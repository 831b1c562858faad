"""Trained policies measured: episodes, returns, bias, pictures."""
