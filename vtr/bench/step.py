"""A training step: what masking saves, what wrapping costs, and a table over mask ratios and precisions.

Letters: B batch. One process, random weights and a batch of noise in memory, so that nothing but the step is measured:
forward, loss, backward and fused AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vtr.bench.harness import Bench, Measured
from vtr.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vtr.config import Config
    from vtr.models.dual import DualEncoder
    from vtr.types import Batch

GOALS = {
    "step.mac75": "at least 4.7",
    "step.mac75_best": "at least 12",
    "step.masked_75": "at least 3.8",
    "step.masked_60": "at least 2.4",
    "step.over_plain": "below 1.05",
    "step.mfu": "at least 0.45",
}
RATIOS = (0.0, 0.5, 0.6, 0.75, 0.9)
WORDS = 1000  # the vocabulary of a text tower whose own is not at hand; it costs memory, and next to no time


@dataclass
class Measure:
    """A model with its optimizer, and how a step of it goes at some ratio and precision."""

    config: Config
    model: DualEncoder
    optimizer: Any
    batch: Batch
    device: torch.device

    def step(self, ratio: float, precision: str) -> Callable[[], None]:
        """One step of MAC with `ratio` of the patches hidden (0: of the whole view)."""
        from vtr.objectives.mac import MAC

        objective = MAC(self.model, 3, ratio, self.config.objective.word_ratio if ratio else 0.0)
        return self._run(lambda: objective(self.batch, 0)["contrastive"], precision)

    def plain(self, ratio: float) -> Callable[[], None]:
        """The same arithmetic without vtr around it: timm's own blocks on patches that were chosen beforehand."""
        import torch
        import torch.nn.functional as F

        from vtr.masking import visible_count
        from vtr.models.patches import visible_patches

        video, text = self.model.video, self.model.text.model
        k = visible_count(video.cells, ratio)
        cells = torch.arange(k, device=self.device).expand(len(self.batch), video.slots, k)
        patches = visible_patches(self.batch.clips, cells, video.patch, video.tubelet).float().div(255).flatten(1, 2)
        places = torch.zeros(1, 1 + patches.shape[1], video.width, device=self.device)
        mask, target = self.batch.attention.long(), torch.arange(len(self.batch), device=self.device)

        def loss() -> Tensor:
            x = video.patch_embed(patches)
            x = torch.cat([video.cls_token.expand(len(x), -1, -1), x], dim=1) + places
            for block in video.blocks:
                x = block(x)
            v = F.normalize(self.model.vid_proj(video.norm(x)[:, 0]), dim=-1)
            states = text(input_ids=self.batch.ids, attention_mask=mask).last_hidden_state
            t = F.normalize(self.model.txt_proj(states[:, 0]), dim=-1)
            logits = v @ t.T / 0.05
            return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)

        return self._run(loss, "fp32")

    def _run(self, loss: Callable[[], Tensor], precision: str) -> Callable[[], None]:
        import torch

        from vtr.compute import DTYPES

        def run() -> None:
            with torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "fp32"):
                value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return run


def measure(
    bench: Bench,
    *,
    recipe: str = "mac-base",
    batch_size: int = 2,
    ratios: Sequence[float] = RATIOS,
    precisions: Sequence[str] = (),
    device: str = "auto",
    compiled: bool = False,
) -> Measured:
    """Ratios of step times at the recipe's size, and the table; `compiled` uses torch.compile in the table."""
    from vtr import build, compute
    from vtr import recipe as recipes
    from vtr.bench.utilisation import utilisation

    where = compute.device(device)
    best = compute.precision("auto", where)
    config = two_towers(recipes.load(recipe), recipe)
    divided = make(config, "divided", batch_size, where, small=bench.small)
    joint = make(config, "joint", batch_size, where, small=bench.small)
    works = {
        "frozen 0": divided.step(0.0, "fp32"),
        "joint 0": joint.step(0.0, "fp32"),
        "joint 0.6": joint.step(0.6, "fp32"),
        "joint 0.75": joint.step(0.75, "fp32"),
        "plain 0.75": joint.plain(0.75),
        "best 0.75": joint.step(0.75, best),
    }
    seconds = bench.medians(works, clock_of(where))
    frozen = seconds["frozen 0"]
    del divided, works
    wanted: dict[str, float | None] = {
        "step.mac75": frozen / seconds["joint 0.75"],
        "step.mac75_best": frozen / seconds["best 0.75"],
        "step.masked_75": seconds["joint 0"] / seconds["joint 0.75"],
        "step.masked_60": seconds["joint 0"] / seconds["joint 0.6"],
        "step.over_plain": seconds["joint 0.75"] / seconds["plain 0.75"],
    }
    if compiled:
        build.compile_towers(joint.model)
    few = replace(bench, repeats=max(1, bench.repeats // 2))
    precisions = precisions or tuple(dict.fromkeys(("fp32", best)))
    wanted["step.mfu"], how = utilisation(few, config, where, batch_size)
    figures = {
        "recipe": recipe, "mfu": how, "batch_size": batch_size, "device": str(where), "best_precision": best,
        "parameters_m": round(sum(p.numel() for p in joint.model.parameters()) / 1e6, 1),
        "ms": {name: round(1000 * value, 1) for name, value in seconds.items()},
        "table": table(few, joint, ratios, precisions),
    }  # fmt: skip
    return {"ratios": wanted, "figures": figures}


def two_towers(config: Config, recipe: str) -> Config:
    """`config` as it came. Raises ConfigError when its model has one tower for both, which this does not measure."""
    if config.model.kind != "dual":
        raise ConfigError(f"the recipe {recipe!r} has one tower", "measure a step of a recipe with two: mac-base, say")
    return config


def table(bench: Bench, joint: Measure, ratios: Sequence[float], precisions: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each precision and ratio: gflop and ms a step, samples/s, memory, and the share of a GEMM's speed."""
    rows = []
    for precision in precisions:
        peak = gemm_tflops(joint.device, precision)
        for ratio in ratios:
            run = joint.step(ratio, precision)
            flops, saved = counted(run)
            seconds = bench.medians({f"{precision} {ratio}": run}, clock_of(joint.device))[f"{precision} {ratio}"]
            rows.append({
                "precision": precision, "mask_ratio": ratio, "gflop": round(flops / 1e9, 1),
                "ms": round(1000 * seconds, 2), "samples_per_s": round(len(joint.batch) / seconds, 2),
                "activation_mb_a_sample": round(saved / len(joint.batch) / 2**20, 1),
                "tflops": round(flops / seconds / 1e12, 3), "of_gemm": round(flops / seconds / 1e12 / peak, 3),
            })  # fmt: skip
    return rows


def clock_of(where: torch.device) -> Callable[[], float]:
    """Wall-clock; on one thread of a CPU the seconds of this process alone, which others disturb less."""
    import time

    import torch

    return time.process_time if where.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def make(config: Config, attention: str, batch_size: int, where: torch.device, *, small: bool) -> Measure:
    """The recipe's model with random weights and `attention`, and a batch of noise of its size."""
    from types import SimpleNamespace
    from typing import cast

    import torch

    from vtr import recipe as recipes
    from vtr.build import make_model
    from vtr.optim import parameter_groups

    config = recipes.override(config, {"model.attention": attention, "model.video": "", "model.text": ""})
    if small:
        tiny = {"width": 96, "heads": 3, "depth": 1, "text_width": 96, "text_heads": 3, "text_depth": 1}
        config = recipes.override(config, {f"model.{name}": value for name, value in tiny.items()})
    torch.manual_seed(0)
    words: Any = SimpleNamespace(vocabulary=WORDS, pad_id=0)  # all that a new text tower asks of its tokenizer
    model = cast("DualEncoder", make_model(config, words).to(where).train())
    optimizer = torch.optim.AdamW(parameter_groups(model.named_parameters(), 0.05), lr=1e-5, fused=True)
    return Measure(config, model, optimizer, noise(config, batch_size, where), where)


def noise(config: Config, batch_size: int, where: torch.device) -> Batch:
    """A batch of random pixels and full captions."""
    import torch

    from vtr.types import Batch

    data = config.data
    clips = torch.randint(0, 256, (batch_size, data.frames, 3, data.size, data.size), dtype=torch.uint8)
    ids = torch.randint(5, WORDS, (batch_size, data.words))
    there = torch.ones_like(ids, dtype=torch.bool)
    batch = Batch(clips, ids, there, there, torch.arange(batch_size), torch.ones(batch_size, dtype=torch.bool))
    return batch.to(where)


def counted(run: Callable[[], None]) -> tuple[int, int]:
    """(FLOPs of a step, bytes that it keeps for its backward pass), counted, not timed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not tensor.is_leaf:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        run()
    return counter.get_total_flops(), sum(kept.values())


def gemm_tflops(where: torch.device, precision: str, size: int = 2048) -> float:
    """What a square matrix product reaches here: the yardstick of utilisation, where no data sheet is at hand."""
    import statistics

    import torch

    from vtr.compute import DTYPES

    clock = clock_of(where)
    size = 8192 if where.type == "cuda" else size
    a = torch.randn(size, size, device=where, dtype=DTYPES[precision])
    taken = []
    for _ in range(6):
        begin = clock()
        (a @ a)[0, 0].item()  # waits for it
        taken.append(clock() - begin)
    return 2 * size**3 / statistics.median(taken[1:]) / 1e12
