"""Fits the docs to a site (mkdocs.yml): README.md is its first page, and a link to a file of the
repository, which the site does not have, becomes the file's name. A link to a file that does not
exist stays, and the strict build refuses it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md as the first page."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?!docs/|https?:)", "](../", text).replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Name files of the repository instead of linking them."""

    def named(link: re.Match[str]) -> str:
        said, path = link.groups()
        if not (ROOT / "docs" / path).exists() or not _is_outside(path):
            return link.group()
        name = path.removeprefix("../")
        return said if name.rstrip("/") in said.replace("`", "") else f"{said} (`{name}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)\)", named, markdown)


def _is_outside(path: str) -> bool:
    return path.startswith("../") or path.endswith(".ipynb")
