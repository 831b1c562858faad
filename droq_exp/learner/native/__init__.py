"""The critics' updates in C++, for CPUs: the functions of ``updates.py`` stay the definition, tests compare the two."""
