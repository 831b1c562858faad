"""The learner: pure functions over flat tensors with a leading seed axis, compiled to a few graphs."""
