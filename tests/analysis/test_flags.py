"""Flags: what is too little is said with the setting that mends it, and what suffices is not."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from study import cross_eval, plan, sweep
from study.analysis.flags import (
    EDGE,
    FEW_TRIALS,
    FOUND_LATE,
    UNDER_TRAINED,
    at_edge,
    course,
    few_trials,
    flags,
    found_late,
    given_recipe,
    under_trained,
)
from study.core.errors import ConfigError
from study.core.records import EpochRecord, Pairing, Params, Trial, TrialResult
from study.planning.selection import SearchHistory
from study.search.driver import PairingSearch
from study.search.spaces import Parameter, load_space
from tests.factories import write_dataset

NPR = Pairing(detector="npr", train_on="a")


def result(curve: Sequence[float]) -> TrialResult:
    rest = {"phase": "full", "train_loss": 0.5, "val_nll": 0.5, "learning_rate": 1e-3}
    return TrialResult(
        key="k",
        state="done",
        val_auc=max(curve),
        val_nll=0.5,
        best_epoch=curve.index(max(curve)),
        history=tuple(
            EpochRecord(epoch=n, val_auc=auc, seconds=1.0, **rest)  # type: ignore[arg-type]
            for n, auc in enumerate(curve)
        ),
    )


# Curves of mobilenetv2_035 on faces_140k as measured, of 8 and of 14 epochs.
EIGHT = [0.7582, 0.8087, 0.8649, 0.866, 0.8485, 0.8811, 0.885, 0.8836]
FOURTEEN = [
    *(0.8025, 0.7827, 0.8722, 0.8919, 0.8322, 0.8867, 0.8808, 0.8941, 0.9149, 0.9109, 0.912),
    *(0.913, 0.9113, 0.9112),
]


@pytest.mark.parametrize(
    ("curve", "epochs", "seen"),
    [
        ([0.7], 1, "the best epoch is the last of 1"),
        ([0.6, 0.7, 0.8], 3, "the best epoch is the last of 3"),
        ([0.6, 0.7, 0.8], 4, ""),  # patience, or a scheduler, ended it
        # by hand: (.885 + .8836) / 2 - (.8485 + .8811) / 2 = .0195
        (EIGHT, 8, "source val still rises after 8 epochs (by 0.020 in the last 2)"),
        (FOURTEEN, 14, ""),
        ([0.8, 0.9, 0.9, 0.9, 0.9, 0.901], 6, ""),  # a lead of .001 is a plateau
        ([0.8, 0.9, 0.9, 0.9, 0.9, 0.903], 6, "the best epoch is the last of 6"),
        ([0.9, 0.8, 0.7, 0.6], 4, ""),
    ],
)
def test_a_fit_that_ends_too_soon_is_under_trained(
    curve: list[float], epochs: int, seen: str
) -> None:
    said = under_trained(result(curve), epochs)
    assert (said.seen if said else "") == seen
    if said:
        assert said.kind == UNDER_TRAINED
        assert said.mend == f'set budget.epochs = {2 * epochs}, or "auto"'


@pytest.mark.parametrize(
    ("value", "range_", "log", "mend"),
    [
        (9.5e-3, (1e-4, 1e-2), True, "set search.ranges.x = [0.0001, 0.1]"),
        (1.1e-4, (1e-4, 1e-2), True, "set search.ranges.x = [1e-05, 0.01]"),
        (1e-3, (1e-4, 1e-2), True, ""),
        (0.99, (0.03, 1.0), True, ""),  # a ratio ends at 1
        (0.03, (0.03, 1.0), True, "set search.ranges.x = [0.003, 1]"),
        (0.41, (0.1, 0.4), False, "set search.ranges.x = [0.1, 0.55]"),
        (0.1, (0.1, 0.5), False, "set search.ranges.x = [0, 0.5]"),
        (0.25, (0.1, 0.4), False, ""),
        (8.0, (2.0, 8.0), False, "set search.ranges.x = [2, 11]"),
    ],
)
def test_a_value_at_the_end_of_its_range_names_a_wider_one(
    value: float, range_: tuple[float, float], log: bool, mend: str
) -> None:
    parameter = Parameter(
        name="x", kind="float", default=range_[0], low=range_[0], high=range_[1], log=log
    )
    said = at_edge(parameter, value)
    assert (said.mend if said else "") == mend


def test_choices_have_no_ends() -> None:
    batch = Parameter(name="batch_size", kind="categorical", default=16, choices=(16, 32, 64))
    assert at_edge(batch, 64) is None


@pytest.mark.parametrize(
    ("number", "trials", "late"),
    [(8, 12, True), (7, 12, False), (11, 12, True), (2, 3, True), (1, 3, False), (1, 2, False)],
)
def test_found_in_the_last_third(number: int, trials: int, late: bool) -> None:
    said = found_late(number, trials)
    assert (said is not None) == late
    if said:
        assert said.mend == f"set budget.trials = {2 * trials}"


def search(trials: int, epochs: int = 3) -> PairingSearch:
    return PairingSearch(pairing=NPR, space=load_space("npr"), trials=trials, epochs=epochs)


def test_three_trials_for_each_setting_are_enough() -> None:
    assert few_trials(search(6)) is None
    said = few_trials(search(5))
    assert said is not None and said.mend == "set budget.trials = 6"
    assert said.seen == "5 trials for 2 searched settings, fewer than 3 each"
    spectrum = PairingSearch(
        pairing=Pairing(detector="spectrum", train_on="a"), space=load_space("spectrum"), trials=3
    )
    assert few_trials(spectrum) is None


def test_a_recipe_that_the_study_gives_is_told() -> None:
    assert given_recipe(search(6)) is None
    space = load_space("npr").with_given({"lr": 5e-5, "batch_size": (16, 32)})
    said = given_recipe(PairingSearch(pairing=NPR, space=space))
    assert said is not None and said.seen == "given: lr = 5e-05, batch_size = 16 | 32"
    whole = load_space("npr").with_given({"lr": 5e-5, "batch_size": 32})
    said = given_recipe(PairingSearch(pairing=NPR, space=whole, trials=1))
    assert said is not None
    assert said.seen == "given, and not searched: lr = 5e-05, batch_size = 32"


def searched(values: Sequence[float], *, complete: bool = True) -> SearchHistory:
    default = load_space("npr").default()

    def trial(number: int, params: Params) -> Trial:
        return Trial(key=f"{number}", pairing=NPR, number=number, params=params, seed=0, epochs=3)

    rates = [3e-3, *(1.9e-2 if value == max(values) else 1e-3 for value in values[1:])]
    rows = [
        (trial(n, {**default, "lr": rate}), result([0.5, 0.55, value]))
        for n, (value, rate) in enumerate(zip(values, rates, strict=True))
    ]
    return SearchHistory(trials=rows, complete=complete)


def test_a_pairing_has_all_its_flags_once_its_search_has_ended() -> None:
    values = [0.7, 0.71, 0.72, 0.8]
    found = flags({NPR: search(4)}, {NPR: searched(values)})
    assert [flag.kind for flag in found] == [UNDER_TRAINED, EDGE, FOUND_LATE, FEW_TRIALS]
    assert {(flag.detector, flag.train_on) for flag in found} == {("npr", "a")}
    assert found[1].text == (
        "edge of range: lr = 0.019 lies at the upper end of 0.0002 to 0.02 (log); set"
        " search.ranges.lr = [0.0002, 0.2]"
    )
    assert flags({NPR: search(4)}, {NPR: searched(values, complete=False)}) == []
    assert flags({NPR: search(4)}, {NPR: SearchHistory(trials=[], complete=True)}) == []


def test_all_flags_ask_for_one_budget() -> None:
    """There is one number of trials and of epochs for all detectors."""
    other = Pairing(detector="npr", train_on="b")
    values = [0.7, 0.71, 0.72, 0.8]
    found = flags(
        {NPR: search(4, epochs=3), other: search(6, epochs=3)},
        {NPR: searched(values), other: searched([0.7, 0.71, 0.72, 0.73, 0.74, 0.8])},
    )
    mends = {flag.mend for flag in found if "budget.trials" in flag.mend}
    assert mends == {"set budget.trials = 12"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.8, 0.7, 0.7], "the default was not beaten in 3 trials"),
        (
            [0.7, 0.8, 0.75, 0.7],
            "nothing better in the 2 after it, +0.100 over the default",
        ),
        ([0.7, 0.7, 0.8], "the last of 3, +0.100 over the default"),
    ],
)
def test_the_course_of_a_search_in_words(values: list[float], words: str) -> None:
    assert course(searched(values)) == words


STUDY = """
name = "{name}"
detectors = ["npr"]
train_on = ["alpha", "beta"]
detector.npr.size_px = 16
data.root = "{root}"
[budget]
seeds = 1
replicates = 0
null_models = 0
default_winners = false
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> object:
    for number, name in enumerate(("alpha", "beta")):
        write_dataset(tmp_path / "data" / name, n=40, size=32, seed=number)

    def study_of(name: str, budget: str) -> tuple[str, Path]:
        file = tmp_path / f"{name}.toml"
        file.write_text(STUDY.format(name=name, root=tmp_path / "data") + budget, encoding="utf-8")
        arguments = [str(file), "--results", str(tmp_path / "results")]
        capsys.readouterr()
        for command, local in (
            (plan, []),
            (sweep, ["--local"]),
            (cross_eval, ["--local", "--full"]),
        ):
            assert command.main([*arguments, *local]) == 0
        return capsys.readouterr().out, tmp_path / "results" / name

    return study_of


@pytest.mark.slow
def test_a_short_budget_is_flagged_in_every_place_and_one_that_suffices_is_not(run: object) -> None:
    printed, folder = run("short", "trials = 2\nepochs = 1\n")  # type: ignore[operator]
    kinds = {UNDER_TRAINED, FEW_TRIALS}
    with (folder / "flags.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["train_on"], row["kind"]) for row in rows} >= {
        (name, kind) for name in ("alpha", "beta") for kind in kinds
    }
    planned, swept, evaluated = printed.split("\nstudy short:")[0], printed, printed
    assert "note:  npr: 2 trials for 2 searched settings, fewer than 3 each" in planned
    trained = 'under-trained: the best epoch is the last of 1; set budget.epochs = 2, or "auto"'
    assert f"flag: npr @ alpha: {trained}" in swept
    assert f"flag: trained on alpha: {trained}" in evaluated
    said = 'Under-trained: npr @ alpha, npr @ beta (set budget.epochs = 2, or "auto").'
    assert said in printed and said in (folder / "comparisons.md").read_text(encoding="utf-8")
    row = "| npr | alpha | under-trained | the best epoch is the last of 1 | set budget.epochs = 2"
    assert row in (folder / "tables.md").read_text(encoding="utf-8")

    printed, folder = run("enough", "trials = 6\nepochs = 12\n")  # type: ignore[operator]
    tables = (folder / "tables.md").read_text(encoding="utf-8")
    for text in (printed, tables.split("few trials: fewer than")[1]):
        assert not any(f"{kind}: " in text.lower() for kind in kinds)
    with (folder / "flags.csv").open(encoding="utf-8") as file:
        assert not kinds & {row["kind"] for row in csv.DictReader(file)}


def test_a_range_that_the_study_sets_is_searched(run: object, tmp_path: Path) -> None:
    budget = "trials = 2\nepochs = 1\n[search.ranges]\n"
    run("ranged", f"{budget}lr = [2e-3, 4e-3]\n")  # type: ignore[operator]
    for ranges, message in [
        ("lr = [1e-2, 1e-1]", r"search\.ranges: npr: lr: default = 0\.003 must lie between"),
        ("batch_size = [16, 32]", "batch_size has choices"),
        ("rate = [1, 2]", r"search\.ranges: unknown setting 'rate'"),
        ("lr = [1e-3]", r"search\.ranges\.lr = \[0\.001\] must be a range of two numbers"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run("refused", f"{budget}{ranges}\n")  # type: ignore[operator]
