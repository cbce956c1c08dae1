"""`python -m study` lists the commands; `python -m study NAME ...` is `python -m study.NAME
...`.
"""

from __future__ import annotations

import runpy
import sys

from study.cli import BAD_INPUT, DONE

COMMANDS = {
    "prepare": "find or download a study's datasets, split them, decode them once",
    "plan": "what would run: pairings, trials, cells, their states, size and time",
    "sweep": "search every pairing's hyperparameters with the same budget, and train the winners",
    "cross_eval": "score every winner on every test set: the train-on-X/test-on-Y matrix",
    "audit": (
        "before anybody trusts a column: confounds, leaks and resolutions of datasets, and no-pixel"
        " baselines"
    ),
    "score": "every metric and interval for anybody's predictions, from a CSV file",
    "ls": "list detectors, datasets, search spaces, presets and the runs of a results folder",
}


def main() -> int:
    """Run the named command, or list them all."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m study COMMAND ...    (python -m study.COMMAND --help tells more)\n")
        for name, summary in COMMANDS.items():
            print(f"  {name:<11} {summary}")
        print("\nstart here:\n  python -m study.sweep quick && python -m study.cross_eval quick")
        return DONE
    name = sys.argv[1]
    if name not in COMMANDS:
        from study.core.errors import unknown_name

        print(f"error: {unknown_name('command', name, COMMANDS)}", file=sys.stderr)
        return BAD_INPUT
    del sys.argv[1]
    runpy.run_module(f"study.{name}", run_name="__main__", alter_sys=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
