"""Hold a detector to what every detector must do, before it is in a study.

    python -m study.check py:my_detectors:residual

It is trained and scored on made pictures, on the CPU. Large networks take long.
"""

from __future__ import annotations

from collections.abc import Sequence

from study import cli

EXAMPLES = """
python -m study.check npr
python -m study.check py:my_detectors:residual
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("check", __doc__, EXAMPLES)
    what = "a detector's name: py:MODULE:FACTORY of your own file, or any other"
    parser.add_argument("detector", metavar="DETECTOR", help=what)
    what = "a folder with pretrained weights as files (default: STUDY_WEIGHTS, else the libraries'"
    parser.add_argument("--weights-root", metavar="DIR", help=f"{what} hubs)")
    options = cli.parse(parser, arguments)
    from study.core.errors import StudyError
    from study.detectors import registry
    from study.detectors.base import Detector
    from study.search.spaces import load_space
    from study.training.contract import CHECKS, Subject

    name, root = options.detector, cli.weights_root(options)
    spec = registry.resolve(name, options={}, weights_root=root)
    default = load_space(name).default()

    def build(seed: int) -> Detector:
        return registry.build(spec, weights_root=root, seed=seed).eval()

    failed = 0
    for check in CHECKS:
        said = " ".join((check.__doc__ or "").partition("\n\n")[0].split())
        try:
            check(Subject(name=name, build=build, default=default))
        except StudyError as error:
            failed += 1
            print(f"FAILED  {said}\n        {error}")
        # the code of somebody's detector raises anything
        except Exception as error:
            failed += 1
            print(f"FAILED  {said}\n        {type(error).__name__}: {error}")
        else:
            print(f"ok      {said}")
    print(f"\n{name}: {len(CHECKS) - failed} of {len(CHECKS)} checks hold")
    return cli.SOME_FAILED if failed else cli.DONE


if __name__ == "__main__":
    cli.run(main)
