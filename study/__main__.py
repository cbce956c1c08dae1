"""List the commands, or run one: `python -m study NAME ...` is `python -m study.NAME ...`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from study.cli import BAD_INPUT, DONE


def commands() -> dict[str, str]:
    """Return every command beside this file with the first line of its docstring. Nothing is
    imported: a command is a file that ends in `cli.run(main)`.
    """
    texts = {
        file.stem: file.read_text(encoding="utf-8").rstrip()
        for file in sorted(Path(__file__).parent.glob("*.py"))
    }
    return {
        name: text.partition("\n")[0].strip('"')
        for name, text in texts.items()
        if text.endswith("cli.run(main)")
    }


def main() -> int:
    """Run the named command, or list them all."""
    found = commands()
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m study COMMAND ...    (python -m study.COMMAND --help tells more)\n")
        for name, summary in found.items():
            print(f"  {name:<11} {summary}")
        print("\nstart here:\n  python -m study.sweep quick && python -m study.cross_eval quick")
        return DONE
    name = sys.argv[1]
    if name not in found:
        from study.core.errors import unknown_name

        print(f"error: {unknown_name('command', name, found)}", file=sys.stderr)
        return BAD_INPUT
    del sys.argv[1]
    runpy.run_module(f"study.{name}", run_name="__main__", alter_sys=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
