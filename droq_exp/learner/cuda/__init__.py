"""What GPUs do faster: a step's work as CUDA graphs, its random numbers drawn on the device."""
