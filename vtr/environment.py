"""What a report of a problem should tell: versions, devices, whether bf16 is quick, decoders, extras."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from vtr.data.crew import cores
from vtr.optional import requirements
from vtr.version import __version__

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SHOWN = ("torch", "torchvision", "timm", "transformers", "tokenizers", "accelerate", "av", "pyarrow", "numpy")


def describe() -> dict[str, Any]:
    """What a report should tell, by name. Nothing is fetched and nothing is written.

    `extras` names, for each extra of vtr, the packages that it lacks.
    """
    return {
        "vtr": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "cores": cores(),
        "memory_gb": _memory_gb(),
        "packages": {name: version(name) for name in SHOWN},
        **_devices(),
        "decoders": _decoders(),
        "extras": extras(),
    }


def version(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def extras(package: str = "vtr") -> dict[str, list[str]]:
    """For each extra of an installed package the requirements that are not met; {} where it is not installed."""
    asked = requirements(package)
    return {
        extra: [f"{one.name}{one.specifier}" for one in asked[extra] if not _is_met(one)] for extra in sorted(asked)
    }


def _is_met(requirement: Requirement) -> bool:
    found = version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _devices() -> dict[str, Any]:
    import torch

    from vtr import compute

    best = compute.device("auto")
    devices = [
        {"name": f"cuda:{i}", "about": torch.cuda.get_device_name(i),
         "memory_gb": round(torch.cuda.get_device_properties(i).total_memory / 1e9, 1)}
        for i in range(torch.cuda.device_count())
    ]  # fmt: skip
    return {
        "devices": [*devices, {"name": "cpu", "about": f"{torch.get_num_threads()} threads", "memory_gb": None}],
        "cuda": torch.version.cuda,
        "device_auto": str(best),
        "precision_auto": compute.precision("auto", best),
        "bf16": compute.precision("auto", best) == "bf16",
    }


def _decoders() -> dict[str, str | None]:
    import av

    from vtr.data import decord_reader

    found = decord_reader.load()
    return {
        "pyav": f"{av.__version__}, FFmpeg {getattr(av, 'ffmpeg_version_info', 'unknown')}",
        "decord": None if found is None else version("decord"),
    }


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
