#!/usr/bin/env python
"""Write ``docs/configuration.md`` and ``docs/commands.md`` from the program and ``conf/``, after an edit of either."""

from __future__ import annotations

from pathlib import Path

from droq_exp.cli.page import commands_page
from droq_exp.config.help import configuration_page

DOCS = Path(__file__).resolve().parent.parent / "docs"

if __name__ == "__main__":
    for name, page in (("configuration.md", configuration_page()), ("commands.md", commands_page())):
        (DOCS / name).write_text(page, encoding="utf-8")
        print(f"wrote docs/{name}")
