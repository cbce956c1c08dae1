"""ResNet-18 from random weights (He et al., CVPR 2016), as the CIFAKE project trains it."""

from __future__ import annotations

import timm
from torch import nn

from study.core.records import DetectorSpec
from study.detectors.timm_network import TimmNetwork

CIFAR_BELOW_PX = 64


def create(spec: DetectorSpec) -> TimmNetwork:
    """Build the detector of `spec`.

    Below 64 px the stem is that of He et al.'s CIFAR networks (3 x 3, stride 1, no pooling): the
    ImageNet stem would leave a 32 px image an 8 x 8 map before the first block. From 64 px on it is
    the ImageNet stem.
    """
    backbone = timm.create_model("resnet18", pretrained=False, num_classes=0)
    if spec.geometry.size_px < CIFAR_BELOW_PX:
        backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        backbone.maxpool = nn.Identity()
    return TimmNetwork(spec, backbone)
