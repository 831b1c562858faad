"""What CPUs do faster in C++. The functions in torch and NumPy stay the definition; tests compare the two."""
