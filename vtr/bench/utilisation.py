"""How much of what a GPU's data sheet promises a training step reaches.

Source: NVIDIA's data sheets, dense bf16 products with float32 sums, without sparsity.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vtr.bench.harness import Bench

if TYPE_CHECKING:
    import torch

    from vtr.config import Config

LARGE = 512  # clips of a batch: fewer do not fill such a GPU
# TFLOP/s of a device whose name holds these words; the first that fits counts.
PEAKS = {
    "GH200": 989.0, "H200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "H800": 989.0, "A100": 312.0,
    "L40S": 362.0, "L4": 121.0, "A10": 125.0,
}  # fmt: skip


def utilisation(bench: Bench, config: Config, where: torch.device, batch_size: int) -> tuple[float | None, str]:
    """The FLOPs a second of MAC's step at 0.75 in bf16, compiled, over the data sheet's, and how that was measured.

    Or None, and why there is no such figure: no GPU, one whose data sheet is not known, or a batch that does not fit.
    """
    import torch

    from vtr.bench.step import make
    from vtr.bench.yardstick import counted
    from vtr.build import compile_towers

    if where.type != "cuda":
        return None, "only a GPU has a data sheet to compare with"
    name = torch.cuda.get_device_name(where)
    peak = peak_tflops(name)
    if peak is None:
        return None, f"the data sheet of {name} is not known"
    batch = 8 if bench.small else max(LARGE, batch_size)
    try:
        it = make(config, "joint", batch, where, small=bench.small)
        work = it.step(0.75, "bf16")
        flops = counted(work)[0]
        compile_towers(it.model)
        seconds = bench.medians({"mfu": work})["mfu"]
    except torch.cuda.OutOfMemoryError:
        return None, f"a batch of {batch} does not fit into the memory of {name}"
    return flops / seconds / 1e12 / peak, f"MAC at 0.75, bf16, compiled, batch {batch}, over {peak:g} TFLOP/s of {name}"


def peak_tflops(name: str) -> float | None:
    """What the data sheet of a GPU of this name says; None where it is not known, or the device is a part of one."""
    words = set(re.split(r"[\s-]", name))
    if "MIG" in words:
        return None
    return next((peak for wanted, peak in PEAKS.items() if words >= set(wanted.split())), None)
