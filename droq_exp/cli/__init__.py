"""The command ``droq-exp``: plan, follow, retry, cancel and report sweeps; inspect trained runs."""
