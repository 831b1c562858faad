"""Searching good values: Optuna asks and is told, this project's jobs train."""
