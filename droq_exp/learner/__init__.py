"""The learner: pure functions over flat tensors with a leading seed axis, compiled as one graph per update."""
