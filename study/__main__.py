"""List the commands, or run one: `study NAME ...` is `python -m study.NAME ...`."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from study.cli import BAD_INPUT, DONE

# what other tools call these commands
ALSO = {"train": "sweep", "search": "sweep", "tune": "sweep", "test": "cross_eval"}
ALSO |= {"eval": "cross_eval", "evaluate": "cross_eval", "list": "ls", "new": "init"}
ALSO |= {"infer": "predict", "metrics": "score", "crosseval": "cross_eval"}


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
    if "_ARGCOMPLETE" in os.environ:
        _complete(found)
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m study COMMAND ...    (python -m study.COMMAND --help tells more)\n")
        for name, summary in found.items():
            print(f"  {name:<11} {summary}")
        print("\nafter pip install, `study COMMAND` is the same\n")
        print("start here:\n  python -m study.sweep quick && python -m study.cross_eval quick")
        return DONE
    if sys.argv[1] in ("-V", "--version"):
        print(f"fake-image-study {_version()}")
        return DONE
    name = sys.argv[1].replace("-", "_")
    if name not in found:
        print(f"error: {_unknown(sys.argv[1], found)}", file=sys.stderr)
        return BAD_INPUT
    del sys.argv[1]
    runpy.run_module(f"study.{name}", run_name="__main__", alter_sys=True)
    return DONE


def _version() -> str:
    from importlib import metadata

    return metadata.version("fake-image-study")


def _unknown(name: str, found: dict[str, str]) -> str:
    from study.core.errors import unknown_name

    if (meant := ALSO.get(name.lower())) in found:
        return f"unknown command '{name}': did you mean '{meant}'? Valid: {', '.join(found)}"
    return unknown_name("command", name, found)


def _complete(found: dict[str, str]) -> None:
    """Tell the shell which commands there are; after a command, leave it to that one."""
    typed = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = typed.split()
    if len(words) > 2 or (len(words) == 2 and typed.endswith(" ")):
        os.environ["_ARGCOMPLETE"] = "2"  # where in the line the options of the command begin
        sys.argv[1:] = words[1:]
        return
    import argparse

    import argcomplete

    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=[*found])
    argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
