"""The embedded demo: the same everywhere, no scene twice, and every generator's trace found by
other means than its own.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
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
from study.data.audit.dataset import audit_dataset
from study.data.catalog import Catalog, DataConfig
from study.data.leaks.find import leaks_across, shared_images
from study.data.sources import demo
from study.data.sources.cards import card_names, load_card

LUMA = np.array([0.299, 0.587, 0.114])
CLEAN = tuple(name for name in demo.NAMES if name != "demo_confounded")
Measure = Callable[[NDArray[np.uint8]], float]

# First digits of the SHA-256 of the manifest, of the first scene, and of what the generator makes
# of `an_image`. Pixels of VERSION 2: where a digest changes on purpose, VERSION is raised with it.
GENERATED = {
    "demo_nearest": ("f74ccb5e6528bc56", "b384afcf5f94febb", "bc6604198b4b7d93"),
    "demo_checkerboard": ("b5c915370b38a47c", "7f6715f14d009a13", "1f40852c15367250"),
    "demo_recapture": ("e73901753a8fa9cb", "eac4cb1726952c39", "278ced6bf9b04bb8"),
    "demo_confounded": ("225b8cddd4dd8c42", "d070f07fedd373af", "bc6604198b4b7d93"),
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


def test_three_datasets_are_related_and_one_is_not() -> None:
    assert set(demo.FAMILIES) == set(demo.NAMES)
    assert Counter(demo.FAMILIES.values()) == {"upsampling": 3, "recapture": 1}
    assert demo.FAMILIES["demo_nearest"] == demo.FAMILIES["demo_checkerboard"] == "upsampling"


@pytest.mark.parametrize("name", demo.NAMES)
def test_a_dataset_on_disk_is_what_was_made_before(
    name: str, made: Mapping[str, list[demo.Pair]], tmp_path: Path
) -> None:
    demo.build(name, tmp_path)
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    planted = name == "demo_confounded"
    reals, method = "jpg" if planted else "png", demo.GENERATORS[name].method
    expected = {}
    for pair in made[name]:
        expected[f"real/{pair.group}.{reals}"] = ("real", demo.SCENE, pair.group, pair.real)
        expected[f"fake/{pair.group}.png"] = ("fake", method, pair.group, pair.fake)
    there = list(tmp_path.rglob("*.*g"))
    assert set(rows) == set(expected) == {p.relative_to(tmp_path).as_posix() for p in there}
    assert len({path.stat().st_size for path in there if path.suffix == ".png"}) == 1
    for path, (label, how, group, pixels) in expected.items():
        assert rows[path] == {"path": path, "label": label, "method": how, "group": group}
        with Image.open(tmp_path / path) as image:
            assert (image.mode, image.size) == ("RGB", (64, 64))
            far = np.abs(np.asarray(image).astype(int) - pixels)
        assert far.max() == 0 if path.endswith("png") else far.mean() < 1.5
    digest = hashlib.sha256((tmp_path / "manifest.csv").read_bytes()).hexdigest()
    assert digest.startswith(GENERATED[name][0])


def an_image() -> demo.Pixels:
    """A ramp, a disc and noise from a stream that numpy guarantees: no scene had a part in it."""
    rows, columns = np.indices((64, 64))
    disc = 90 * ((rows - 30) ** 2 + (columns - 36) ** 2 < 300)
    return (rows + columns + disc)[:, :, None] // np.array([1, 2, 3]) + demo.Bits("test").array(
        (64, 64, 3), 0, 40
    )


@pytest.mark.parametrize("name", demo.NAMES)
def test_scenes_and_generators_give_the_same_pixels_on_every_machine(
    name: str, made: Mapping[str, list[demo.Pair]]
) -> None:
    fake = demo.GENERATORS[name].run(an_image(), demo.Bits("test", 1))
    assert fake.shape == (64, 64, 3)
    assert 0 <= fake.min() < fake.max() <= 255
    images = (made[name][0].real, fake.astype(np.uint8))
    found = [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images]
    assert found == [*GENERATED[name][1:]]


# scenes, groups, splits


def test_the_power_of_a_scene_falls_steadily(made: Mapping[str, list[demo.Pair]]) -> None:
    """Steeper than that of photographs (a slope near -2, Field 1987): discs have no texture."""
    luminance = np.stack([pair.real for pair in made["demo_nearest"]]) @ LUMA
    window = np.hanning(64)[:, None] * np.hanning(64)
    middle = luminance - luminance.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(middle * window)) ** 2).mean(axis=0)
    frequency = np.fft.fftfreq(64, 1 / 64)
    ring = np.hypot(frequency[:, None], frequency).astype(int)
    rings = np.arange(3, 16)  # above: blur and noise of the camera
    profile = [power[ring == r].mean() for r in rings]
    slope = np.polyfit(np.log(rings), np.log(profile), 1)[0]
    assert -3.6 < slope < -2.4
    assert (np.diff(profile) < 0).all()


@pytest.mark.parametrize("name", demo.NAMES)
def test_splits_are_by_scene_and_large_enough(name: str, catalog: Catalog) -> None:
    samples = catalog.dataset(name).samples.to_pylist()
    assert len(samples) == 800
    assert all(sample["split"] == side(sample["group"]) for sample in samples)
    groups: dict[str, list[int]] = {}
    for sample in samples:
        groups.setdefault(sample["group"], []).append(sample["label"])
    assert len(groups) == 400 and all(sorted(labels) == [0, 1] for labels in groups.values())
    of_split = Counter(side(group) for group in groups)
    assert of_split["train"] >= 260 and min(of_split["val"], of_split["test"]) >= 45


def test_no_image_is_there_twice_and_no_group_in_two_datasets(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    pairs = [pair for dataset in made.values() for pair in dataset]
    images = {image.tobytes() for pair in pairs for image in (pair.real, pair.fake)}
    assert len(images) == 2 * len(pairs) == 4 * 800
    assert len({pair.group for pair in pairs}) == len(pairs)


# the audit is clean, but for what is planted


@pytest.mark.parametrize("name", demo.NAMES)
def test_the_audit_marks_the_planted_confound_and_nothing_else(name: str, catalog: Catalog) -> None:
    audit = audit_dataset(catalog, name)
    severe = {f.code for f in audit.findings if f.severity in ("critical", "warning")}
    if name == "demo_confounded":
        assert {"metadata", "format"} <= severe
        assert "border_and_brightness" not in severe
        assert audit.metadata_auc.value == 1.0
    else:
        assert severe == set()
    assert [leaks.found for leaks in leaks_across(catalog, name)] == [(), (), ()]
    for other in demo.NAMES:
        if other != name:
            shared = shared_images(catalog, other, name)
            assert (shared.share(0), shared.share(1)) == (0, 0)


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


def band(image: NDArray[np.uint8]) -> float:
    """Log power of 8 to 13 waves across the image, relative to the bands beside it."""
    power = np.log(np.abs(np.fft.fft2(image @ LUMA)) ** 2 + 1)
    frequency = np.fft.fftfreq(64, 1 / 64)
    ring = np.hypot(frequency[:, None], frequency)
    inside = power[(ring >= 8.5) & (ring < 13)].mean()
    beside = power[((ring >= 5) & (ring < 8)) | ((ring >= 14) & (ring < 18))].mean()
    return float(inside - beside)


def paired_auc(dataset: list[demo.Pair], measure: Measure) -> float:
    """How often a fake measures more than the real it was made from; ties count half."""
    differences = np.array([measure(pair.fake) - measure(pair.real) for pair in dataset])
    return float((differences > 0).mean() + (differences == 0).mean() / 2)


def test_up_sampling_leaves_a_period_of_two_and_a_recapture_does_not(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    for name, dataset in made.items():
        assert 0.97 < np.median([inside_cells(pair.real) for pair in dataset]) < 1.03
        found = paired_auc(dataset, inside_cells)
        assert found < 0.02 if demo.FAMILIES[name] == "upsampling" else abs(found - 0.5) < 0.1


def test_a_recapture_leaves_a_band_of_waves_and_up_sampling_does_not(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    assert paired_auc(made["demo_recapture"], band) > 0.95
    changes = {name: [band(p.fake) - band(p.real) for p in made[name]] for name in demo.NAMES}
    for name in demo.NAMES:
        if name != "demo_recapture":
            assert abs(np.mean(changes[name])) < np.mean(changes["demo_recapture"]) / 4


def test_no_generator_is_given_away_by_softness_or_brightness(
    made: Mapping[str, list[demo.Pair]],
) -> None:
    for dataset in made.values():
        ratios = [rms(fine(pair.fake)) / rms(fine(pair.real)) for pair in dataset]
        assert 0.85 < np.median(ratios) < 1.1
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
    """In each cell, not in the mean alone."""
    features: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, dataset in made.items():
        for split in ("train", "test"):
            chosen = [pair for pair in dataset if side(pair.group) == split]
            features[name, split] = profile(
                np.stack([p.real for p in chosen] + [p.fake for p in chosen])
            )
    for source in CLEAN:
        train = features[source, "train"]
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)).fit(
            train, np.arange(len(train)) >= len(train) / 2
        )
        for target in demo.NAMES:
            test = features[target, "test"]
            auc = roc_auc_score(
                np.arange(len(test)) >= len(test) / 2, model.decision_function(test)
            )
            if demo.FAMILIES[source] == demo.FAMILIES[target]:
                assert auc > 0.85, (source, target)
            else:
                assert 0.35 < auc < 0.65, (source, target)


# errors


def test_an_unknown_name_gives_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="unknown demo dataset 'demo_nearst': did you mean 'demo_nearest'"
    ):
        demo.build("demo_nearst", tmp_path)
    assert not list(tmp_path.iterdir())
