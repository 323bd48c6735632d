"""Which device computes, how precisely, and how much memory it has."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from vtr.errors import ConfigError, InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_FLAGS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises InputError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen).item()  # a device without memory ("meta") fails here
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InputError(
            f"the device {name!r} cannot be used: {str(error).splitlines()[0]}", "try --device auto"
        ) from error
    return chosen


def precision(name: str, where: torch.device) -> str:
    """`auto` is bf16 where the hardware computes in it (imitated, it is fifty times slower), else fp32.

    Raises ConfigError for an unknown one, or one that `where` has not.
    """
    if name != "auto":
        if name not in DTYPES:
            raise ConfigError(f"the precision {name!r} is unknown", f"choose one of: auto, {', '.join(DTYPES)}")
        if name == "fp16" and where.type == "cpu":
            raise ConfigError("fp16 needs a GPU", "give --precision auto")
        return name
    if where.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if any(getattr(torch.cpu, flag, bool)() for flag in BF16_FLAGS) else "fp32"


def memory_bytes(where: torch.device) -> int:
    """Bytes of memory that are free on the GPU, or on this machine."""
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
