"""The frame of the benchmarks: ratios, what is met, ways in turn. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row, Taken, Way, in_turn


def row(project: float, peer: float, limit: float | None = None, **more: object) -> Row:
    taken = {PROJECT: Taken(project, 9.0), PEER: Taken(peer, 9.0)}
    taken |= {} if limit is None else {LIMIT: Taken(limit, 9.0)}
    return Row(name="made", taken=taken, **more)


def test_ratios_are_of_cpu_seconds_and_both_must_reach_their_goals() -> None:
    one = row(2.0, 10.0, 1.0, peer_goal=5, limit_goal=0.5)
    assert (one.peer_ratio, one.limit_ratio, one.met) == (5.0, 0.5, True)
    assert not row(2.0, 9.9, 1.0, peer_goal=5, limit_goal=0.5).met
    assert not row(2.0, 10.0, 0.9, peer_goal=5, limit_goal=0.5).met
    assert not row(2.0, 10.0, peer_goal=5, limit_goal=0.5).met, "a limit that nobody measured"
    assert row(2.0, 1.0).met, "nothing is wanted"


def test_a_row_may_be_judged_by_the_wall() -> None:
    taken = {PROJECT: Taken(cpu=1.0, wall=8.0), PEER: Taken(cpu=4.0, wall=4.0)}
    one = Row(name="made", taken=taken, peer_goal=1.0, by_wall=True)
    assert (one.peer_ratio, one.met) == (0.5, False)


def test_a_goal_of_several_rows_is_as_good_as_its_worst() -> None:
    goal = Goal("G99", "made", [row(1.0, 8.0, peer_goal=5), row(1.0, 4.0, peer_goal=5)])
    found = goal.as_json()
    assert (found["peer_ratio"], found["limit_ratio"], found["met"]) == (4.0, None, False)
    assert [one["met"] for one in found["rows"]] == [True, False]


def test_ways_take_turns_after_a_warm_up() -> None:
    seen: list[str] = []
    ways = {name: Way(lambda name=name: seen.append(name)) for name in "ab"}
    assert set(in_turn(ways, 2)) == {"a", "b"}
    assert seen == list("ab" * 3)


def test_a_part_is_multiplied() -> None:
    taken = in_turn({"a": Way(lambda: sum(range(200_000)), times=0.0)}, 1)
    assert taken["a"] == Taken(0.0, 0.0)


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(options: Options) -> list[Goal]:
        assert options.rounds == 1
        return [Goal("G6", "made", [row(2.0, 10.0, peer_goal=25)])]

    monkeypatch.setattr(command, "MEASURED", {("G6",): measured, ("G12", "G13"): command._g12})
    file = tmp_path / "found.json"
    assert command.main(["--rounds", "1", "--json", str(file)]) == 0
    table = capsys.readouterr().out
    assert "| G6 | made: made | 2 (9) | 10 (9) |  | 5.00 |  | peer >= 25 | no |" in table
    assert "* G6, missed: of 53 us" in table
    assert "* G9: needs a GPU" in table and "* G12: needs --data and --weights" in table
    goals = json.loads(file.read_text())["goals"]
    assert {"peer_ratio", "limit_ratio", "goal", "met"} <= goals["G6"].keys()
    assert goals["G9"]["met"] is None
    assert list(goals) == [f"G{n}" for n in (6, 9, 12, 13)]
    with pytest.raises(SystemExit):
        command.main(["--only", "G98"])
