"""What training costs: time and memory of the real loop."""
