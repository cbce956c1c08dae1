"""Print what makes a shell complete the commands: names, options, presets and keys.

    eval "$(study completion bash)"

For every new shell, add that line to ~/.bashrc; for zsh to ~/.zshrc. fish reads what
`study completion fish` prints from ~/.config/fish/completions/study.fish.
"""

from __future__ import annotations

from collections.abc import Sequence

from study import cli

EXAMPLES = """
python -m study.completion bash
python -m study.completion zsh
python -m study.completion fish
"""
SHELLS = ("bash", "zsh", "fish")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("completion", __doc__, EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    options = cli.parse(parser, arguments)
    import argcomplete

    print(argcomplete.shellcode(["study"], shell=options.shell))
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
