"""Markdown as HTML, cut at its headings. Names in it are other people's: no tag, link or picture is
made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from markdown_it import MarkdownIt

_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False})
    .enable("table")
    .disable(["link", "image", "autolink", "html_inline", "html_block", "reference", "entity"])
)
TOP = 2  # headings of so many levels begin a part


def html(markdown: str) -> str:
    """Return Markdown as HTML."""
    return str(_MARKDOWN.render(markdown))


def parts(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield (title, HTML) of every part of a text that has any content."""
    title, lines = "", list[str]()
    for line in [*markdown.splitlines(), "# "]:
        level = len(line) - len(line.lstrip("#"))
        if 0 < level <= TOP and line[level : level + 1] == " ":
            if any(map(str.strip, lines)):
                yield title, html("\n".join(lines))
            title, lines = line[level:].strip(), []
        else:
            lines.append(line)


def rows(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
