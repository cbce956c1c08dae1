"""What a folder holds beside its class folders, so that no image is passed over without a word.

Each thing as (what, why) like the skipped folders of a listing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from study.data.layouts.listing import Walker

SUFFIXES = 8  # kinds of files named; what is more is counted together
NO_CLASS = "holds images, and is or lies in no class folder"


def unreached(walker: Walker, reached: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the topmost folders with images, and the images in no folder, that are in none of some
    folders (`Part.folder`).

    Raises DataError for a folder that may not be read.
    """
    above = {
        "",
        *(
            folder.rsplit("/", depth)[0]
            for folder in reached
            for depth in range(1, folder.count("/") + 1)
        ),
    }
    for folder in sorted(above):
        loose = walker.loose(folder)
        if loose:
            where = f"in '{folder}'" if folder else "at the top"
            yield f"{loose:,} image{'' if loose == 1 else 's'} {where}", "in no class folder"
        for name in walker.folders(folder):
            path = f"{folder}/{name}" if folder else name
            if path not in above and path not in reached and next(walker.images(path), None):
                yield path, NO_CLASS


def ignored_files(ignored: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield what files were not looked at. ignored: their number by suffix (`Walker.ignored`)."""
    ranked = sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    for suffix, number in ranked[:SUFFIXES]:
        what = f"*{suffix}" if suffix else "files without a suffix"
        yield what, f"{number:,} in class folders, by their names neither images nor videos"
    if len(ranked) > SUFFIXES:
        rest = sum(number for _, number in ranked[SUFFIXES:])
        yield (
            "files of other suffixes",
            f"{rest:,} in class folders, by their names neither images nor videos",
        )
