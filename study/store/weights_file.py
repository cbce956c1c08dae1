"""Weights of a store: safetensors that say whose they are, and the SHA-256 of each tensor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from study.store.files import DamagedFileError, not_of, unreadable

if TYPE_CHECKING:
    from torch import Tensor


def write_weights(path: Path, tensors: Mapping[str, Tensor], key: str, about: str = "") -> None:
    """Write tensors by name. key: of what they are the weights of. about: a text that goes with
    them, for a person.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sums = {name: _sum(tensor) for name, tensor in plain.items()}
    said = {"about": about} if about else {}
    save_file(plain, path, metadata={"key": key, "sha256": json.dumps(sums), **said})


def read_weights(path: Path, key: str = "", *, prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by their whole names.

    key: whose they have to be; "" where that is not known. Raises DamagedFileError where the file
    is another's, is missing, or holds what was not written, and StoreError where the system does
    not give it. Files of versions that wrote no sums are not checked.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as opened:
            said = opened.metadata() or {}
            names = [name for name in list(opened.keys()) if name.startswith(prefix)]
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in names}
        sums = dict(json.loads(said["sha256"])) if "sha256" in said else None
    except FileNotFoundError:  # what has weights has them whole, unless somebody deleted them
        raise DamagedFileError(path, ValueError("it is missing")) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (SafetensorError, TypeError, ValueError) as error:
        raise DamagedFileError(path, error) from None
    if sums is None:
        return tensors
    if not_of(key, said.get("key", "")):
        raise DamagedFileError(path, ValueError(f"it is of {said.get('key')}"))
    wanted = {name: one for name, one in sums.items() if name.startswith(prefix)}
    if {name: _sum(tensor) for name, tensor in tensors.items()} != wanted:
        raise DamagedFileError(path, ValueError("it holds what was not written"))
    return tensors


def _sum(tensor: Tensor) -> str:
    import torch

    hasher = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()
