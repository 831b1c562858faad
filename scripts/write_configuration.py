#!/usr/bin/env python
"""Write ``docs/configuration.md`` from the schema and ``conf/``, after an edit of either."""

from __future__ import annotations

from pathlib import Path

from droq_exp.config.help import configuration_page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(PAGE.parent.parent)}")
