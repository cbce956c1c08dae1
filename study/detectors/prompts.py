"""Sets of prompts: what a real and what a fake image is called in words, from a file.
Without torch.

    real = ["a photo", "a photograph taken with a camera"]
    fake = ["a synthetic image"]

A set is named after its file in `study/detectors/prompt_sets/`, or given as the path of a file of
one's own (`.toml`). The texts and their digest go into the detector's spec, so that it is built the
same where the file is not.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from study.core.errors import ConfigError, located, unknown_name
from study.core.identity import digest
from study.core.paths import given_path
from study.core.validation import check_keys, read_toml, toml_names

CLASSES = ("real", "fake")
Texts = tuple[tuple[str, ...], tuple[str, ...]]


def prompt_sets() -> list[str]:
    """Return the names of the sets that ship, sorted."""
    return toml_names(resources.files("study.detectors") / "prompt_sets")


def read_prompts(name: str) -> Texts:
    """Return the (real, fake) prompts of a set that ships, or of a file. Raises ConfigError."""
    if not name.endswith(".toml"):
        if name not in prompt_sets():
            raise ConfigError(
                unknown_name("prompts", name, prompt_sets()) + ", or the path of a .toml file"
            )
        text = (resources.files("study.detectors") / "prompt_sets" / f"{name}.toml").read_text(
            encoding="utf-8"
        )
    else:
        try:
            text = given_path(name).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ConfigError(
                f"prompts file '{name}' cannot be read: {error.strerror or error}"
            ) from None
    with located(f"prompts '{name}'"):
        table = read_toml(text)
        check_keys(table, CLASSES)
        return _texts(table, "real"), _texts(table, "fake")


def _texts(table: dict[str, Any], label: str) -> tuple[str, ...]:
    texts = table.get(label)
    plain = (
        isinstance(texts, list)
        and texts
        and all(isinstance(t, str) and t.strip() and "\n" not in t for t in texts)
    )
    if not plain or len(set(texts)) < len(texts):  # type: ignore[arg-type]
        raise ConfigError(
            f"{label} = {texts!r} must be a list of different texts of one line, at least one"
        )
    return tuple(texts)  # type: ignore[arg-type]


def prompt_options(name: str) -> dict[str, str]:
    """Return a set as options of a spec: its texts, one a line, and their digest; not its name,
    which decides nothing.

    Raises ConfigError.
    """
    real, fake = read_prompts(name)
    return {
        "prompts_real": "\n".join(real),
        "prompts_fake": "\n".join(fake),
        "prompts_digest": digest("prompts", real, fake),
    }
