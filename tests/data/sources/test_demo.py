"""The embedded demo: the same everywhere, no region on two sides, and every generator's trace found
by other means than its own.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.core.errors import DataError
from study.core.identity import unit_interval
from study.data.catalog import Catalog, DataConfig
from study.data.sources import demo
from study.data.sources.cards import card_names, load_card

LUMA = np.array([0.299, 0.587, 0.114])
Measure = Callable[[NDArray[np.uint8]], float]

# The pixels of VERSION 1. Where a digest changes on purpose, VERSION is raised with it.
PHOTOGRAPH_FILES = {
    "china": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    "grace_hopper": "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
}
# first digits of the SHA-256 of the manifest, and of what the generator makes of `an_image`
GENERATED = {
    "demo_nearest": ("f9f980daf563f008", "457e2ca040a9a76c"),
    "demo_checkerboard": ("725cddbe9c260242", "f65574ae7f18aef3"),
    "demo_blend": ("ac8f421fb013d2a1", "b808553d40b3ded3"),
    "demo_denoise": ("62aacbb2c3be0487", "51485d61f9807eda"),
}


@pytest.fixture(scope="module")
def made() -> Mapping[str, list[demo.Pair]]:
    return MappingProxyType({name: list(demo.pairs(name)) for name in demo.NAMES})


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return Catalog(DataConfig(root=None, cache=tmp_path_factory.mktemp("demo")), firewall=False)


def side(group: str) -> str:
    place = unit_interval("split", group)
    return "train" if place < 0.70 else "val" if place < 0.85 else "test"


# names, cards, files


def test_every_dataset_has_a_card_that_says_it_is_simulated() -> None:
    assert {name for name in card_names() if load_card(name).source == "demo"} == set(demo.NAMES)
    for name in demo.NAMES:
        card = load_card(name)
        assert card.title.startswith("SIMULATED")
        assert any(hazard.startswith("Simulated: ") for hazard in card.hazards)


def test_two_datasets_are_related_and_the_others_are_not() -> None:
    assert set(demo.FAMILIES) == set(demo.NAMES)
    assert Counter(demo.FAMILIES.values()) == {"upsampling": 2, "blending": 1, "smoothing": 1}
    assert demo.FAMILIES["demo_nearest"] == demo.FAMILIES["demo_checkerboard"] == "upsampling"


@pytest.mark.parametrize("name", demo.NAMES)
def test_a_dataset_on_disk_is_what_was_made_before(
    name: str, made: Mapping[str, list[demo.Pair]], tmp_path: Path
) -> None:
    demo.build(name, tmp_path)
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    expected = {}
    for pair in made[name]:
        expected[f"real/{pair.key}.png"] = ("real", demo.PHOTOGRAPH, pair.group, pair.real)
        expected[f"fake/{pair.key}.png"] = (
            "fake",
            demo.GENERATORS[name].method,
            pair.group,
            pair.fake,
        )
    assert (
        set(rows)
        == set(expected)
        == {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    )
    for path, (label, method, group, pixels) in expected.items():
        assert rows[path] == {"path": path, "label": label, "method": method, "group": group}
        with Image.open(tmp_path / path) as image:
            assert (image.mode, image.size) == ("RGB", (64, 64))
            np.testing.assert_array_equal(np.asarray(image), pixels)
    assert (
        hashlib.sha256((tmp_path / "manifest.csv").read_bytes())
        .hexdigest()
        .startswith(GENERATED[name][0])
    )


def an_image() -> demo.Pixels:
    """A ramp, a disc and noise from a stream that numpy guarantees: no decoder of photographs had a
    part in it.
    """
    rows, columns = np.indices((64, 64))
    disc = 90 * ((rows - 30) ** 2 + (columns - 36) ** 2 < 300)
    return (rows + columns + disc)[:, :, None] // np.array([1, 2, 3]) + demo.Bits("test").array(
        (64, 64, 3), 0, 40
    )


@pytest.mark.parametrize("name", demo.NAMES)
def test_a_generator_gives_the_same_pixels_on_every_machine(name: str) -> None:
    made = demo.GENERATORS[name].run(an_image(), an_image()[::-1].copy(), demo.Bits("test", 1))
    assert made.shape == (64, 64, 3)
    assert 0 <= made.min() < made.max() <= 255
    assert (
        hashlib.sha256(made.astype(np.uint8).tobytes()).hexdigest().startswith(GENERATED[name][1])
    )


def test_the_photographs_are_those_with_which_the_demo_was_tried() -> None:
    for name, photo in demo.PHOTOGRAPHS.items():
        data = (resources.files(photo.package) / photo.file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == PHOTOGRAPH_FILES[name], (
            f"{name} is another file: try the demo anew"
        )


# regions, groups, splits


@pytest.mark.parametrize("name", demo.PHOTOGRAPHS)
def test_regions_cover_a_photograph_once(name: str) -> None:
    covered = np.zeros(demo.load_photograph(name).shape[:2], dtype=int)
    for region in demo.regions():
        if region.photograph == name:
            covered[region.top : region.bottom, region.left : region.right] += 1
            assert min(region.bottom - region.top, region.right - region.left) >= 70
    assert (covered == 1).all()
    assert len({region.group for region in demo.regions()}) == len(demo.regions())


@pytest.mark.parametrize("name", demo.NAMES)
def test_no_pixel_of_an_image_lies_outside_its_region(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of reals, of fakes, and of the windows that patches come from: every cut is seen on its
    way.
    """
    cuts: list[demo.Crop] = []
    original = demo._cut

    def seen(photograph: demo.Pixels, crop: demo.Crop) -> demo.Pixels:
        cuts.append(crop)
        return original(photograph, crop)

    monkeypatch.setattr(demo, "_cut", seen)
    places = {region.group: region for region in demo.regions()}
    for pair in demo.pairs(name):
        region = places[pair.group]
        assert len(cuts) == 2
        for crop in cuts:
            assert region.top <= crop.top <= region.bottom - 64
            assert region.left <= crop.left <= region.right - 64
        cuts.clear()


def test_a_real_is_a_turned_window_of_its_photograph(made: Mapping[str, list[demo.Pair]]) -> None:
    places = {region.group: region for region in demo.regions()}
    for name in demo.NAMES:
        first = made[name][0]
        crop, region = demo.crops(name, places[first.group])[0], places[first.group]
        window = Image.fromarray(demo.load_photograph(region.photograph).astype(np.uint8)).crop(
            (crop.left, crop.top, crop.left + 64, crop.top + 64)
        )
        turned = window.rotate(90 * (crop.turn % 4))
        expected = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.turn >= 4 else turned
        np.testing.assert_array_equal(first.real, np.asarray(expected))


@pytest.mark.parametrize("name", demo.NAMES)
def test_splits_are_by_region_and_large_enough(name: str, catalog: Catalog) -> None:
    samples = catalog.dataset(name).samples.to_pylist()
    assert len(samples) == 440
    assert all(sample["split"] == side(sample["group"]) for sample in samples)
    images = Counter((sample["split"], sample["label"]) for sample in samples)
    assert images == {
        (s, c): n for s, n in (("train", 138), ("val", 28), ("test", 54)) for c in (0, 1)
    }
    groups = {
        s: {sample["group"] for sample in samples if sample["split"] == s}
        for s in ("train", "val", "test")
    }
    assert {s: len(names) for s, names in groups.items()} == {"train": 69, "val": 14, "test": 27}
    for names in groups.values():
        assert {group.split("/")[0] for group in names} == set(demo.PHOTOGRAPHS)


def test_no_pixel_serves_two_splits_in_any_dataset() -> None:
    masks = {
        split: {
            name: np.zeros((photo.size[1], photo.size[0]), dtype=bool)
            for name, photo in demo.PHOTOGRAPHS.items()
        }
        for split in ("train", "val", "test")
    }
    for name in demo.NAMES:
        for region in demo.regions():
            for crop in demo.crops(name, region):
                masks[side(region.group)][region.photograph][
                    crop.top : crop.top + 64, crop.left : crop.left + 64
                ] = True
    for photograph in demo.PHOTOGRAPHS:
        layers = [masks[split][photograph] for split in masks]
        assert all(layer.any() for layer in layers)
        assert np.sum(layers, axis=0).max() == 1


def test_no_image_is_there_twice(made: Mapping[str, list[demo.Pair]]) -> None:
    images = [
        image.tobytes()
        for dataset in made.values()
        for pair in dataset
        for image in (pair.real, pair.fake)
    ]
    assert len(images) == 4 * 440
    assert len(set(images)) == len(images)


def test_turns_are_dealt_out_evenly() -> None:
    for name in demo.NAMES:
        turns = Counter(crop.turn for region in demo.regions() for crop in demo.crops(name, region))
        assert set(turns) == set(range(8))
        assert max(turns.values()) < 2 * 220 / 8
    for region in demo.regions():
        turns = Counter(crop.turn for name in demo.NAMES for crop in demo.crops(name, region))
        assert set(turns.values()) == {1}


# traces, measured


def fine(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a Gaussian of sigma 1 takes away."""
    values = image.astype(np.float64)
    return np.asarray(values - ndimage.gaussian_filter(values, (1, 1, 0)))


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def inside_cells(image: NDArray[np.uint8]) -> float:
    """Differences of neighbours inside 2 x 2 cells, relative to those between cells: 1 where there
    is no period of 2.
    """
    values = image.astype(np.float64)
    across, down = np.abs(np.diff(values, axis=1)), np.abs(np.diff(values, axis=0))
    return float(
        (across[:, 0::2].mean() + down[0::2].mean()) / (across[:, 1::2].mean() + down[1::2].mean())
    )


def nyquist_peak(image: NDArray[np.uint8]) -> float:
    """The grid of a checkerboard: the highest frequency of the mean row or column, relative to the
    eight below it.
    """
    peaks = []
    for axis in (0, 1):
        profile = (image @ LUMA).mean(axis=axis)
        power = np.abs(np.fft.rfft(profile - ndimage.gaussian_filter1d(profile, 2)))
        peaks.append(power[-1] / np.median(power[-9:-1]))
    return float(max(peaks))


def colour_in_the_centre(image: NDArray[np.uint8]) -> float:
    """Strength of fine detail without luminance."""
    detail = fine(image)[22:42, 22:42]
    return rms(detail - (detail @ LUMA)[:, :, None])


def flatness(image: NDArray[np.uint8]) -> float:
    """The usual fine detail of the luminance relative to its strength: low where texture is gone
    and edges stay.
    """
    detail = fine(image) @ LUMA
    return float(np.median(np.abs(detail))) / max(rms(detail), 1e-6)


def paired_auc(dataset: list[demo.Pair], measure: Measure) -> float:
    """How often a fake measures more than the real it was made from; ties count half."""
    differences = np.array([measure(pair.fake) - measure(pair.real) for pair in dataset])
    return float((differences > 0).mean() + (differences == 0).mean() / 2)


def test_up_sampling_leaves_a_period_of_two_and_nothing_else_does(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    for name, dataset in made.items():
        found = np.array([inside_cells(pair.fake) for pair in dataset])
        if demo.FAMILIES[name] == "upsampling":
            assert np.median(found) < 0.3
            assert np.quantile(found, 0.9) < 0.8
        else:
            assert 0.97 < np.median(found) < 1.03
            assert np.quantile(found, 0.1) > 0.9
        assert 0.97 < np.median([inside_cells(pair.real) for pair in dataset]) < 1.03


def test_the_transposed_convolution_leaves_a_grid(made: Mapping[str, list[demo.Pair]]) -> None:
    assert paired_auc(made["demo_checkerboard"], nyquist_peak) > 0.9
    assert np.median([nyquist_peak(pair.fake) for pair in made["demo_checkerboard"]]) > 4
    for name in ("demo_blend", "demo_denoise"):
        assert abs(paired_auc(made[name], nyquist_peak) - 0.5) < 0.1


def test_a_blended_patch_is_an_oval_of_other_colour_grain(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    assert paired_auc(made["demo_blend"], colour_in_the_centre) > 0.95
    for pair in made["demo_blend"]:
        changed = (pair.real != pair.fake).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert not changed[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        assert rows[-1] - rows[0] < 64
        assert columns[-1] - columns[0] < 58
        assert changed.mean() < 0.7
    assert (
        np.median(
            [
                (pair.real != pair.fake).any(axis=2)[24:40, 24:40].mean()
                for pair in made["demo_blend"]
            ]
        )
        > 0.95
    )


def test_the_denoiser_takes_texture_and_leaves_edges(made: Mapping[str, list[demo.Pair]]) -> None:
    assert paired_auc(made["demo_denoise"], flatness) < 0.1


def test_no_generator_is_given_away_by_being_softer_overall(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    for dataset in made.values():
        ratios = [rms(fine(pair.fake)) / rms(fine(pair.real)) for pair in dataset]
        assert 0.8 < np.median(ratios) < 1.25
        brightness = [pair.fake.mean() - pair.real.mean() for pair in dataset]
        assert abs(np.mean(brightness)) < 0.5


# the right answer, with a detector written here


def profile(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean log power of the luminance per whole distance from zero frequency, (N, 46)."""
    power = np.abs(np.fft.fft2(images @ LUMA)) ** 2
    frequency = np.fft.fftfreq(64, 1 / 64)
    ring = np.hypot(frequency[:, None], frequency).astype(int).ravel()
    count = np.bincount(ring)
    return np.stack(
        [np.bincount(ring, one) / count for one in np.log(power + 1e-3).reshape(len(images), -1)]
    )


def test_a_spectrum_generalises_within_a_family_and_not_beyond(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    features: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, dataset in made.items():
        for split in ("train", "test"):
            chosen = [pair for pair in dataset if side(pair.group) == split]
            features[name, split] = profile(
                np.stack([p.real for p in chosen] + [p.fake for p in chosen])
            )
    auc: dict[tuple[str, str], float] = {}
    for source in demo.NAMES:
        train = features[source, "train"]
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(
            train, np.arange(len(train)) >= len(train) / 2
        )
        for target in demo.NAMES:
            test = features[target, "test"]
            auc[source, target] = roc_auc_score(
                np.arange(len(test)) >= len(test) / 2, model.decision_function(test)
            )
    assert min(auc[name, name] for name in demo.NAMES) > 0.7
    related = [v for (a, b), v in auc.items() if a != b and demo.FAMILIES[a] == demo.FAMILIES[b]]
    unrelated = [v for (a, b), v in auc.items() if demo.FAMILIES[a] != demo.FAMILIES[b]]
    assert min(related) > 0.9
    assert max(unrelated) < min(related) - 0.1
    assert np.mean(related) > np.mean(unrelated) + 0.3


# errors


def test_an_unknown_name_gives_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="unknown demo dataset 'demo_nearst': did you mean 'demo_nearest'"
    ):
        demo.build("demo_nearst", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"file": "datasets/images/gone.jpg"},
            (
                "sklearn/datasets/images/gone.jpg cannot be read .*; install another version of"
                " sklearn"
            ),
        ),
        (
            {"package": "no_such_package"},
            "no_such_package/datasets/images/china.jpg cannot be read",
        ),
        ({"file": "datasets/images/README.txt"}, "README.txt cannot be read"),
        ({"full": (641, 427)}, r"is \(640, 427\) pixels, not \(641, 427\)"),
    ],
)
def test_a_photograph_that_is_gone_is_one_line(
    change: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = dataclasses.replace(demo.PHOTOGRAPHS["china"], **change)
    monkeypatch.setattr(demo, "PHOTOGRAPHS", {**demo.PHOTOGRAPHS, "china": other})
    with pytest.raises(DataError, match=message) as error:
        demo.build("demo_nearest", tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
