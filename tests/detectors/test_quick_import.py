"""Detectors are imported without torch's compiler, and whoever wants that has it all the same."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import torch
disable = torch.compiler.disable
from study.detectors import registry
from study.detectors.quick_import import without_compiler
registry.create_function(registry.spec_of("mobilenetv2_035_linear"))
assert "timm" in sys.modules and "torchvision" in sys.modules
assert "torch._dynamo" not in sys.modules, "the compiler was loaded"
assert torch.compiler.disable is disable
with without_compiler():
    from torch._dynamo.utils import counters
    assert type(sys.modules["torch._dynamo.utils"]).__name__ == "module"
assert counters is torch._dynamo.utils.counters
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
"""


def test_a_detector_loads_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
