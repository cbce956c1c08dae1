"""Look for confounds, leaks and resolutions of datasets, with shortcut baselines.

    python -m study.audit quick

Before anybody trusts a column: what sets a dataset's classes apart that has nothing to do with
being fake. Reads every split of every dataset, and feeds nothing back into search. Of a study it
writes results/<study>/audit.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.analysis.audit import StudyAudit
    from study.planning.open_study import OpenStudy

EXAMPLES = """
python -m study.audit quick
python -m study.audit my_study.toml --data-root ~/datasets
python -m study.audit --data-root ~/datasets --datasets my_photos cifake
python -m study.audit --datasets my_photos --class-folder authentic=real --class-folder made=fake
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("audit", __doc__, EXAMPLES)
    cli.add_study_options(parser, optional=True)
    cli.add_log_options(parser)
    parser.add_argument(
        "--datasets", nargs="+", metavar="NAME", help="audit these datasets instead of a study's"
    )
    cli.add_class_folder_option(parser, "--datasets")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON document")
    options = cli.parse(parser, arguments)
    _check(options)
    from study.render.audit import as_json, as_text

    if options.study:
        setup = cli.open_study(options, firewall=False)
        with setup.store.lock():
            audit = write_audit(setup)
    else:
        audit = _audit_datasets(options)
    print(as_json(audit) if options.json else as_text(audit), end="" if options.json else "\n")
    if options.study and not options.json:
        print(f"\naudit: {setup.store.audit_file}")
    return cli.DONE


def write_audit(setup: OpenStudy) -> StudyAudit:
    """Audit a study and write its audit.json; what the cache holds is not read again."""
    from study.analysis.audit import audit_study
    from study.render.audit import as_json

    audit = audit_study(setup, progress=cli.show_progress)
    text, path = as_json(audit), setup.store.audit_file
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        setup.store.save_text(path, text)
    return audit


def _check(options: argparse.Namespace) -> None:
    from study.core.errors import ConfigError

    if options.study and options.datasets:
        raise ConfigError(f"'{options.study}' and --datasets: name a study or datasets, not both")
    if not options.study and not options.datasets:
        raise ConfigError(
            "nothing to audit: name a study (python -m study.ls presets), or datasets with"
            " --datasets A B"
        )
    if options.datasets and options.set:
        raise ConfigError(f"--set {options.set[0]} changes a study, and none is named")
    if options.study and options.class_folder:
        raise ConfigError(
            "--class-folder belongs to --datasets; a study names class folders in"
            " data.class_folders"
        )


def _audit_datasets(options: argparse.Namespace) -> StudyAudit:
    from study.analysis.audit import StudyAudit, audit_datasets
    from study.core.paths import given_path
    from study.data.catalog import Catalog, DataConfig

    root = given_path(options.data_root).absolute() if options.data_root else None
    named = cli.class_folders(options.class_folder)
    config = DataConfig(
        root=root, cache=Path(options.results).absolute() / "cache", class_folders=named
    )
    catalog = Catalog(config, firewall=False, progress=cli.show_progress)
    names = [member for name in options.datasets for member in catalog.members(name)]
    return StudyAudit(datasets=audit_datasets(catalog, names))


if __name__ == "__main__":
    cli.run(main)
