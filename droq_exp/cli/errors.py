"""How a command is refused; apart from ``droq_exp.config``, which takes long to import."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818  (it is no error of the program)
    """A command that cannot be carried out; ``str`` of it is one line that says why."""
