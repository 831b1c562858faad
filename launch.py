#!/usr/bin/env python
"""Train: ``python launch.py algo=droq env=hopper`` (see ``--help``)."""

from droq_exp.launch import main

if __name__ == "__main__":
    main()
