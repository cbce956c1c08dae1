"""Tables become records: what is taken, what is refused, and what the refusal says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from study.core.errors import ConfigError, located
from study.core.validation import (
    MustBe,
    Plain,
    Switch,
    check_once,
    read_toml,
    validated,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: Annotated[float, MustBe("a number from 0 to below 1", ge=0, lt=1)] = 0.5
    mode: Literal["fast", "slow"] = "fast"


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: Annotated[int, MustBe("a whole number from 1 on", ge=1)] = 2
    words: Annotated[tuple[str, ...], MustBe("a list of words")] = ()
    on: Switch = False
    inner: Inner = field(default_factory=Inner)
    options: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)
    place: str = ""


def test_a_table_becomes_a_record_with_the_records_own_defaults() -> None:
    text = (
        'name = "a"\nwords = ["x", "y"]\ninner.share = 0\noptions.p = { n = 1, on = true, f = 1.0 }'
    )
    record = validated(Outer, read_toml(text), given={"place": "here"})
    options = {"p": {"n": 1, "on": True, "f": 1.0}}
    words = ("x", "y")
    assert record == Outer(
        name="a", words=words, inner=Inner(share=0.0), options=options, place="here"
    )
    assert type(record.inner.share) is float and record.inner.mode == "fast"
    kinds = [type(value) for value in record.options["p"].values()]
    assert kinds == [int, bool, float]  # no kind of value becomes another


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cuont": 1}, "unknown key 'cuont': did you mean 'count'? Valid: count, inner, name, on"),
        ({"place": "b"}, "unknown key 'place'"),  # whoever reads the table gives it
        ({"inner": {"shrae": 1}}, "[inner]: unknown key 'shrae': did you mean 'share'?"),
        ({"inner": {"share": 1}}, "inner.share = 1 must be a number from 0 to below 1"),
        ({"inner": {"share": float("nan")}}, "inner.share = nan must be a number"),
        ({"inner": {"mode": "fats"}}, "inner.mode: unknown mode 'fats': did you mean 'fast'?"),
        ({"inner": 3}, "'inner' must be a table ([inner]), not 3"),
        ({"options": {"p": 3}}, "'options.p' must be a table ([options.p]), not 3"),
        ({"options": {"p": {"n": [1]}}}, "options.p.n = [1] must be a number, a text, true or"),
        ({"count": True}, "count = True must be a whole number from 1 on"),
        ({"count": "3"}, "count = '3' must be a whole number from 1 on"),
        ({"count": 3.0}, "count = 3.0 must be a whole number from 1 on"),
        ({"on": 1}, "on = 1 must be true or false"),
        ({"name": 1}, "name = 1 must be a text"),
        ({"words": "x"}, "words = 'x' must be a list of words"),
        # a misspelt key is why another is missing
        ({"naem": "a", "name": None}, "unknown key 'naem': did you mean 'name'?"),
        ({"name": None, "count": 0}, "the key 'name' is missing"),
    ],
)
def test_a_refusal_is_one_line_with_key_value_and_remedy(
    change: dict[str, Any], message: str
) -> None:
    table = {k: v for k, v in {"name": "a", **change}.items() if v is not None}
    with pytest.raises(ConfigError) as caught, located("my.toml"):
        validated(Outer, table, given={"place": "here"})
    assert str(caught.value).startswith(f"my.toml: {message}") and "\n" not in str(caught.value)


def test_what_is_named_twice() -> None:
    check_once(("a", "b"), key="train_on")
    with pytest.raises(ConfigError, match=r"^train_on names 'a' twice$"):
        check_once(("b", "a", "a"), key="train_on")


def test_records_are_imported_without_pydantic() -> None:
    code = "import sys, study.core.records, study.planning.study; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_lists_in_lists_without_end_are_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match="lie in each other too deep"):
        read_toml("v = " + 9000 * "[")
