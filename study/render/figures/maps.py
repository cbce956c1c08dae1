"""Images beside the maps of where a detector looks, as one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from study.render.figures.canvas import save

SIDE = 1.6  # inches, of a picture
COLOURS = "cividis"  # the colour-blind read it as everybody does


def write_sheet(
    path: Path,
    squares: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.float32]],
    titles: Sequence[str],
) -> None:
    """Write a row an image: what the detector sees, and each map over its grey picture. squares:
    (N, S, S, 3) uint8. maps: method -> (N, S, S) in [0, 1].
    """
    across = 1 + len(maps)
    figure = Figure(
        figsize=(SIDE * across + 0.2, (SIDE + 0.25) * len(squares) + 0.3), layout="constrained"
    )
    axes = figure.subplots(len(squares), across, squeeze=False)
    for row, (square, title) in enumerate(zip(squares, titles, strict=True)):
        axes[row, 0].imshow(square)
        axes[row, 0].set_title(title, fontsize=5, loc="left")
        for column, (method, of) in enumerate(maps.items(), start=1):
            axes[row, column].imshow(square.mean(axis=2), cmap="gray", vmin=0, vmax=255)
            axes[row, column].imshow(of[row], cmap=COLOURS, alpha=0.55, vmin=0, vmax=1)
            if row == 0:
                axes[row, column].set_title(method, fontsize=7)
    for one in axes.flat:
        one.set_axis_off()
    save(figure, path)


def write_means(path: Path, means: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> None:
    """Write the mean maps: a row a class, a column a method. means: class -> method -> (S, S)."""
    methods = list(next(iter(means.values())))
    figure = Figure(
        figsize=(SIDE * len(methods) + 1.2, (SIDE + 0.25) * len(means) + 0.2), layout="constrained"
    )
    axes = figure.subplots(len(means), len(methods), squeeze=False)
    drawn = None
    for row, (name, of) in enumerate(means.items()):
        for column, method in enumerate(methods):
            drawn = axes[row, column].imshow(of[method], cmap=COLOURS, vmin=0, vmax=1)
            axes[row, column].set_title(f"{name}, {method}", fontsize=6)
            axes[row, column].set_axis_off()
    if drawn is not None:
        figure.colorbar(drawn, ax=axes, shrink=0.6).ax.tick_params(labelsize=6)
    save(figure, path)
