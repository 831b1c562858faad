"""What mkdocs does to a page before it builds the site: links to files outside ``docs/`` become their text."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?<!!)\[(?P<text>[^]]*)\]\((?P<target>[^)#:\s]+)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Leave the text of links that lead out of ``docs/``, to code and licences: a site has no such pages."""
    folder = PurePosixPath("docs", page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        target = (ROOT / folder / link["target"]).resolve()
        outside = target.exists() and not target.is_relative_to(ROOT / "docs")
        return link["text"] if outside else link[0]

    return _LINK.sub(kept, markdown)
