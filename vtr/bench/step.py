"""A training step: what masking saves, what wrapping costs, and a table over mask ratios and precisions.

One process, random weights and a batch of noise in memory, so that nothing but the step is measured: forward, loss,
backward and fused AdamW. The table is the recipe's own objective; the ratios are MAC's at the recipe's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from vtr.bench.harness import Bench, Measured
from vtr.bench.yardstick import clock_of, counted, gemm_tflops

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from vtr.config import Config
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
# But where nothing is hidden miles and simvtp have nothing to do, and contrastive hides nothing.
RATIOS_OF = {"miles": RATIOS[1:], "simvtp": RATIOS[1:], "contrastive": RATIOS[:1]}


@dataclass
class Measure:
    """A model with its optimizer, and how a step of it goes at some ratio and precision."""

    config: Config
    model: Any
    optimizer: Any
    batch: Batch
    device: torch.device

    def objective(self, ratio: float) -> nn.Module:
        """The config's objective with `ratio` of the patches hidden (0: the whole view)."""
        from vtr import makers, recipe

        changed = {"objective.mask_ratio": ratio} | ({} if ratio else {"objective.word_ratio": 0.0})
        # A snapshot is there from the start, as it is after its first turn.
        config = recipe.override(self.config, {**changed, "objective.snapshot_wait": False})
        words: Any = SimpleNamespace(mask_id=3)
        return makers.make_objective(config, self.model, words).to(self.device).train()

    def step(self, ratio: float, precision: str) -> Callable[[], None]:
        """One step of that objective."""
        return self.run(self.objective(ratio), precision)

    def run(self, objective: nn.Module, precision: str) -> Callable[[], None]:
        """One step of `objective`."""
        import torch

        own = {id(parameter) for parameter in self.model.parameters()}
        more = any(id(parameter) not in own for parameter in objective.parameters())
        optimizer = adamw(objective) if more else self.optimizer
        return self._run(lambda: torch.stack(list(objective(self.batch, 0).values())).sum(), precision, optimizer)

    def plain(self, ratio: float) -> Callable[[], None]:
        """The same arithmetic without vtr around it: the bare blocks on patches that were chosen beforehand."""
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

        return self._run(loss, "fp32", self.optimizer)

    def _run(self, loss: Callable[[], Tensor], precision: str, optimizer: Any) -> Callable[[], None]:
        import torch

        from vtr.compute import DTYPES

        def run() -> None:
            with torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "fp32"):
                value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return run


def measure(
    bench: Bench,
    *,
    recipe: str = "mac-base",
    batch_size: int = 2,
    ratios: Sequence[float] = (),
    precisions: Sequence[str] = (),
    device: str = "auto",
    compiled: bool = False,
) -> Measured:
    """Ratios of step times at the recipe's size, and the table; `compiled` uses torch.compile in the table.

    A recipe with one tower has the table alone: what MAC does is not to be had of it. Raises ConfigError, before
    anything is measured, for a precision that is unknown or not to be had here.
    """
    from vtr import build, compute
    from vtr import recipe as recipes
    from vtr.footprint import footprint

    where = compute.device(device)
    best = compute.precision("auto", where)
    precisions = tuple(dict.fromkeys(compute.precision(name, where) for name in precisions or ("fp32", best)))
    config = recipes.load(recipe)
    figures: dict[str, Any] = {
        "recipe": recipe, "batch_size": batch_size, "device": str(where), "best_precision": best,
        "objective": config.objective.name, "attention": config.model.attention,
    }  # fmt: skip
    wanted: dict[str, float | None] = dict.fromkeys(GOALS)
    few = replace(bench, repeats=max(1, bench.repeats // 2))
    if config.model.kind == "dual":
        found, more = of_mac(bench, few, config, batch_size, where, best)
        wanted.update(found)
        figures |= more
    else:
        figures["mfu"] = f"the ratios are those of two towers, as mac-base has them; {recipe} has one"
    it = make(config, config.model.attention, batch_size, where, small=bench.small)
    if compiled:
        build.compile_towers(it.model)
    ratios = ratios or RATIOS_OF.get(config.objective.name, RATIOS)
    # Of the recipe: what is timed has fewer words, which costs memory and next to no time.
    figures["parameters_m"] = round(footprint(it.config if bench.small else config, where, best).parameters / 1e6, 1)
    figures["table"] = table(few, it, ratios, precisions)
    return {"ratios": wanted, "figures": figures}


def of_mac(
    bench: Bench, few: Bench, config: Config, batch_size: int, where: torch.device, best: str
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The ratios of MAC's steps with the towers of `config`, and the milliseconds that they are made of."""
    from vtr import recipe as recipes
    from vtr.bench.utilisation import utilisation

    config = recipes.override(config, {"objective.name": "mac", "objective.mask": "per_frame"})
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
    wanted: dict[str, float | None] = {
        "step.mac75": frozen / seconds["joint 0.75"],
        # In bf16 narrow layers may take longer than in fp32.
        "step.mac75_best": frozen / min(seconds["best 0.75"], seconds["joint 0.75"]),
        "step.masked_75": seconds["joint 0"] / seconds["joint 0.75"],
        "step.masked_60": seconds["joint 0"] / seconds["joint 0.6"],
        "step.over_plain": seconds["joint 0.75"] / seconds["plain 0.75"],
    }
    for name, value in wanted.items():
        bench.note(f"{name} {value:.3g}")
    del divided, joint, works
    wanted["step.mfu"], how = utilisation(few, config, where, batch_size)
    return wanted, {"mfu": how, "ms": {name: round(1000 * value, 1) for name, value in seconds.items()}}


def table(bench: Bench, it: Measure, ratios: Sequence[float], precisions: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each precision and ratio: gflop and ms a step, samples/s, memory, and the share of a GEMM's speed."""
    rows = []
    for precision in precisions:
        peak = gemm_tflops(it.device, precision)
        for ratio in ratios:
            run = it.step(ratio, precision)
            flops, saved = counted(run)
            seconds = bench.medians({f"{precision} {ratio}": run}, clock_of(it.device))[f"{precision} {ratio}"]
            rows.append({
                "precision": precision, "mask_ratio": ratio, "gflop": round(flops / 1e9, 1),
                "ms": round(1000 * seconds, 2), "samples_per_s": round(len(it.batch) / seconds, 2),
                "activation_mb_a_sample": round(saved / len(it.batch) / 2**20, 1),
                "tflops": round(flops / seconds / 1e12, 3), "of_gemm": round(flops / seconds / 1e12 / peak, 3),
            })  # fmt: skip
            bench.note("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    return rows


def make(config: Config, attention: str, batch_size: int, where: torch.device, *, small: bool) -> Measure:
    """The recipe's model with random weights and `attention`, and a batch of noise of its size."""
    import torch

    from vtr import recipe as recipes
    from vtr.build import make_model
    from vtr.footprint import BERT, WORDS, noise

    dual = config.model.kind == "dual"
    vocabulary = WORDS if dual else BERT if config.model.text else config.model.vocabulary
    changed: dict[str, Any] = {"model.attention": attention, "model.video": "", "model.text": ""}
    if small:
        changed |= {f"model.{name}width": 96 for name in ("", "text_")} | ({} if dual else {"model.embed_dim": 96})
        changed |= {f"model.{name}{part}": n for name in ("", "text_") for part, n in (("heads", 3), ("depth", 1))}
        changed |= {"objective.decoder_width": 48, "objective.decoder_heads": 3, "objective.decoder_depth": 1}
    config = recipes.override(config, changed)
    torch.manual_seed(0)
    words: Any = SimpleNamespace(vocabulary=vocabulary, pad_id=0)  # all that a new model asks of its tokenizer
    model = make_model(config, words).to(where).train()
    return Measure(config, model, adamw(model), noise(config, batch_size, where), where)


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    """What training has: the fused one."""
    import torch

    from vtr.optim import parameter_groups

    return torch.optim.AdamW(parameter_groups(module.named_parameters(), 0.05), lr=1e-5, fused=True)
