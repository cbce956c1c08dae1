"""Version constants follow the code: where the code behind one changes, somebody decides whether
results do.

Trials, winners, scores and data are known by keys that hold these constants, so that a change of
the code that changes no result leaves every result where it is. `versions.json` holds each
constant's value and the digest of the syntax tree of its code (study/core/code.py).

    python -m tests.core.test_versions [NAME ...]    records the present digests, of all or of some
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from study.core.code import code_digest

RECORDED = Path(__file__).with_name("versions.json")
FAMILIES = [
    f"study.detectors.{name}.create"
    for name in (
        "clip_adapter",
        "clip_zero_shot",
        "dda",
        "effort",
        "ferretnet",
        "gend",
        "half_resnet50",
        "ladeda",
        "layer_norms",
        "npr",
        "resnet_scratch",
        "rine",
        "rine_trained",
        "safe",
        "safe_published",
        "spectrum",
        "srm",
        "timm_published",
        "univfd",
    )
] + ["study.detectors.timm_network.create"]
THRESHOLDS = [
    "study.statistics.thresholds.source_thresholds",
    "study.statistics.thresholds.fit_temperature",
]
# what decides the results that each constant stands for; what these name follows by itself
BEHIND = {
    "study.data.images.decode.DECODE_VERSION": [
        "study.data.images.decode.decode_image",
        "study.data.images.decode.pixel_digest",
        "study.data.images.geometry.fit_geometry",
    ],
    "study.data.images.videos.VIDEO_VERSION": [
        "study.data.images.videos.decode_frames",
        "study.data.images.videos.frame_sha256",
    ],
    "study.data.images.unify.UNIFY_VERSION": [
        "study.data.images.unify.unify",
        "study.data.images.unify.common_side",
    ],
    "study.data.images.faces.FACES_VERSION": [
        "study.data.images.faces.region_of",
        "study.data.images.faces.cut_out",
    ],
    "study.data.images.degradations.DEGRADATION_VERSION": [
        "study.data.images.degradations.parse_degradation",
        "study.data.images.degradations.degrade",
    ],
    "study.data.shuffled.SHUFFLE_VERSION": ["study.data.shuffled.shuffled"],
    "study.data.sources.demo.VERSION": ["study.data.sources.demo.build"],
    "study.planning.keys.TRAINING_VERSION": ["study.training.fit.fit", *FAMILIES, *THRESHOLDS],
    "study.planning.keys.SCORING_VERSION": [
        "study.training.score.score",
        "study.training.features.FeatureStore",
        "study.training.features.head_logits",
        *FAMILIES,
    ],
    "study.planning.keys.BOUNDARY_VERSION": ["study.training.boundary.find_boundary"],
    "study.planning.keys.HEAD_VERSION": [
        "study.training.head_fit.gradient_head",
        "study.training.head_fit.logistic_head",
    ],
    "study.planning.keys.RATE_VERSION": ["study.training.rate_finder.find_rate"],
    "study.planning.keys.PROBE_VERSION": [
        "study.jobs.probe.run_probe",
        "study.jobs.probe.STRENGTHS",
        "study.training.head_fit.logistic_head",
    ],
    "study.planning.keys.DRAWS_VERSION": [
        "study.data.draws.drawn",
        "study.training.drawn_heads.logistic_heads",
    ],
    "study.planning.keys.STARTS_VERSION": [
        "study.training.drawn_heads.gradient_heads",
    ],
    "study.planning.keys.ENSEMBLE_VERSION": [
        "study.jobs.ensemble.mean_of",
        "study.jobs.ensemble.stacked",
        "study.jobs.ensemble.on_common_images",
        *THRESHOLDS,
    ],
}


def present(constant: str) -> list[int | str]:
    """A constant's value, and the digest of the code behind it."""
    module, _, name = constant.rpartition(".")
    places = [tuple(place.rsplit(".", 1)) for place in BEHIND[constant]]
    return [getattr(importlib.import_module(module), name), code_digest(tuple(places))]  # type: ignore[arg-type]


@pytest.mark.parametrize("constant", BEHIND)
def test_a_version_follows_its_code(constant: str) -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    name = constant.rpartition(".")[2]
    assert present(constant) == recorded[constant], (
        f"the code behind {constant} is not the recorded one. If the same inputs now give other"
        f" results, raise {name}: what was stored is then made again. In either case record the"
        f" code: python -m tests.core.test_versions {constant}"
    )


def test_every_version_is_guarded() -> None:
    package = Path(__file__).parents[2] / "study"
    found = {
        f"{'.'.join(path.relative_to(package.parent).with_suffix('').parts)}.{line.split()[0]}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.split(" = ")[0].endswith("VERSION") and " = " in line and line[0].isupper()
    }
    assert found == set(BEHIND) == set(json.loads(RECORDED.read_text(encoding="utf-8")))


def record(constants: list[str]) -> None:
    kept = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.is_file() else {}
    kept.update({constant: present(constant) for constant in constants})
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(kept[name])}" for name in BEHIND)
    RECORDED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1:] or list(BEHIND))
