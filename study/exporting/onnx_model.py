"""A trained detector as one ONNX model: pixels of an image in, logit out.

And the only file that writes ONNX. What `unify` does, a JPEG, cannot be in a graph: images of a
study that unifies are unified before, and faces are cut out before that.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import cast

import torch
from onnx import ModelProto, compose, helper
from torch import Tensor, nn

from study.core.errors import ConfigError, in_a_line
from study.detectors.base import Detector
from study.detectors.spectrum import FLOOR, Spectrum
from study.exporting.preparation import SQUARE, preparation

LOGIT = "logit"
OPSET = 20  # of the operators
FORMAT = 10  # of the file
LARGEST = 1.9e9  # bytes of weights: a file of ONNX ends at 2 GiB


class _Scored(nn.Module):
    """A detector on what it sees of images, uint8 (N, S, S, 3), to logits (N,)."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.features = detector.features
        if isinstance(detector, Spectrum):
            self.features = _Profile(detector)

    def forward(self, square: Tensor) -> Tensor:
        """Pixels to logits."""
        return self.detector.classify(self.features(self.detector.prepare(square)))


class _Profile(nn.Module):
    """What `Spectrum.features` gives, by matrices: the Fourier transform of torch is exported to a
    graph that onnxruntime cannot run.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        super().__init__()
        size = spectrum.spec.geometry.size_px
        place = torch.arange(size, dtype=torch.float64)
        turn = 2 * math.pi / size * torch.outer(place, place)
        weight = torch.zeros(size * (size // 2 + 1), spectrum.n_features)
        ring = cast(Tensor, spectrum._ring)[:, None]
        self.register_buffer("cosine", turn.cos() / math.sqrt(size))
        self.register_buffer("sine", turn.sin() / math.sqrt(size))
        self.register_buffer("weight", weight.scatter(1, ring, cast(Tensor, spectrum._weight)))
        self.register_buffer("luma", cast(Tensor, spectrum._luma))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] to profiles (B, D)."""
        cosine, sine, weight, luma = (
            cast(Tensor, getattr(self, name)) for name in ("cosine", "sine", "weight", "luma")
        )
        light = (x * luma).sum(dim=1).to(torch.float64)
        half = cosine.shape[0] // 2 + 1
        across_cosine, across_sine = light @ cosine[:, :half], light @ sine[:, :half]
        real = cosine @ across_cosine - sine @ across_sine
        imaginary = cosine @ across_sine + sine @ across_cosine
        power = real.square() + imaginary.square()
        # log(power + FLOOR): the exporter takes a number as small as that for 0
        above = torch.log(power / FLOOR + 1) + math.log(FLOOR)
        return above.flatten(1).to(torch.float32) @ weight


def onnx_model(detector: Detector, said: Mapping[str, str]) -> ModelProto:
    """Return a detector as a model from `image`, uint8 RGB (N, H, W, 3) of any one size, to
    `logit`, float32 (N,). said: goes into its metadata.

    Raises ConfigError, with the reason, for a network that ONNX has no operators for.
    """
    if sum(p.nbytes for p in detector.parameters()) > LARGEST:
        raise ConfigError(
            f"{detector.spec.name} has more than {LARGEST / 1e9:.1f} GB of weights, and a file of"
            " ONNX holds no more"
        )
    network = _network(detector)
    geometry = preparation(detector.spec.geometry)
    first = helper.make_model(
        geometry, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT
    )
    network.ir_version = FORMAT
    model = compose.merge_models(first, network, io_map=[(SQUARE, SQUARE)])
    # the merged model names the operators of both, one set twice
    domains = {one.domain: one for one in (*first.opset_import, *network.opset_import)}
    del model.opset_import[:]
    model.opset_import.extend(domains.values())
    helper.set_model_props(model, dict(said))
    return model


def _network(detector: Detector) -> ModelProto:
    size = detector.spec.geometry.size_px
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _Scored(detector.cpu()).eval(),
                (example,),
                dynamo=True,
                input_names=[SQUARE],
                output_names=[LOGIT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as error:  # whatever the exporter raises of somebody's network
            raise ConfigError(
                f"{detector.spec.name} cannot be exported: {in_a_line(error)}"
            ) from error
    assert program is not None
    return program.model_proto
