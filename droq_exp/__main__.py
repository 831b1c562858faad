"""``python -m droq_exp``: the same as ``launch.py``."""

from droq_exp.launch import main

if __name__ == "__main__":
    main()
