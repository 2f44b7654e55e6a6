"""What mkdocs does to each page beyond its own rules."""

import re

from mkdocs.structure.pages import Page


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Return the page with links to files outside docs/ as plain text: the site lacks them."""
    up = page.file.src_uri.count("/") + 1
    return re.sub(rf"\[([^\]]+)\]\((?:\.\./){{{up}}}[^)]*\)", r"\1", markdown)
