"""Runs as jobs: what was submitted, what the queue says, and what state a run is in."""
