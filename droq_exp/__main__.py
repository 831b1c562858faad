"""``python -m droq_exp``: the same as ``launch.py``."""

import sys

_first = sys.path.pop(0)  # the working directory, which Python has put before its own modules

from droq_exp.launch import main  # noqa: E402

sys.path.insert(0, _first)  # ``launch`` looks there last

if __name__ == "__main__":
    main()
