"""The loop over a toy objective: what it asks for in each step, when it saves, scores and stops."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vtr import checkpoint
from vtr.errors import ConfigError, Interrupted, RunError, WorkError
from vtr.optim import warmup_cosine
from vtr.training.average import Average
from vtr.training.best import Best
from vtr.training.loop import TrainPlan, train
from vtr.training.processes import accelerated
from vtr.types import Batch


class Toy(nn.Module):
    """Fits one weight to the mean of the samples' numbers, and notes what it was asked."""

    def __init__(self, factor: Callable[[int], float] = lambda call: 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 2))
        self.calls: list[tuple[int, bool, float]] = []
        self.factor = factor

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, torch.Tensor]:
        self.calls.append((seed, masked, float(torch.rand(()))))
        error = (self.weight - batch.samples.float().mean()).square().mean()
        return {"fit": error * self.factor(len(self.calls)), "size": 0.1 * self.weight.square().sum()}


def batch_of(step: int) -> Batch:
    samples = torch.arange(4 * step, 4 * step + 4) % 11
    ids = torch.zeros(4, 8, dtype=torch.int64)
    return Batch(torch.zeros(4, 1, 3, 2, 2, dtype=torch.uint8), ids, ids == 0, ids == 1, samples, samples >= 0,
                 tuple(f"clip-{n}" for n in samples))  # fmt: skip


def stream(start: int) -> Iterator[tuple[Batch, list[Any]]]:
    for step in range(start, 10**6):
        yield batch_of(step), []


def go(
    out: Path, model: Toy, evaluate=None, batches=stream, fused=False, average=None, more=False, **changes: Any
) -> Path:
    plan = {"steps": 6, "batch_size": 4, "pieces": 1, "pieces_how": "exact", "seed": 5, "warmup": 2,
            "floor": 0.0, "clip": 0.0, "unmasked_tail": 0.0,
            "log_every": 1, "save_every": 2, "eval_every": 0, "keep": 9,
            "best": "", "skip_nonfinite": 0, "identity": {"verb": "toy"}}  # fmt: skip
    out.mkdir(exist_ok=True)

    def write_run(folder: Path) -> None:
        torch.save(model.state_dict(), folder / "weights.pt")
        for name in (checkpoint.CONFIG, checkpoint.WEIGHTS):  # what no checkpoint is without
            (folder / name).touch()

    latest = checkpoint.newest(out)
    if latest is not None:
        model.load_state_dict(torch.load(latest / "weights.pt"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5, fused=fused)
    with accelerated(torch.device("cpu"), "fp32") as accelerator:
        given = TrainPlan(**plan | changes)
        return train(model, optimizer, accelerator, batches, given, out, write_run, evaluate, average, more=more)


def metrics(out: Path, key: str) -> list[Any]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def names(out: Path) -> list[int]:
    return [int(path.name[5:]) for path in checkpoint.steps(out)]


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    model = Toy()
    assert go(tmp_path, model) == tmp_path / "checkpoints" / "step-00000006"
    assert names(tmp_path) == [2, 4, 6]
    assert metrics(tmp_path, "step") == [1, 2, 3, 4, 5, 6]
    for loss, fit, size in zip(*(metrics(tmp_path, key) for key in ("loss", "fit", "size")), strict=True):
        assert loss == pytest.approx(fit + size)
    lrs = metrics(tmp_path, "lr")
    assert lrs[:2] == [0.25, 0.5], "warm-up"
    assert all(a > b for a, b in pairwise(lrs[2:])), "cosine"
    trainer = json.loads((checkpoint.newest(tmp_path) / "state/trainer.json").read_text())
    assert trainer == {"step": 6, "skipped": 0, "verb": "toy"}
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_a_run_that_is_done_does_nothing_more(tmp_path: Path) -> None:
    go(tmp_path, Toy())
    model = Toy()
    assert go(tmp_path, model).name == "step-00000006"
    assert model.calls == []


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path, stop: int) -> None:
    whole, first, rest = Toy(), Toy(), Toy()
    go(tmp_path / "whole", whole)

    def stopping(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        for step, item in enumerate(stream(start), start):
            if step == stop - 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield item

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=rf"stopped at step {stop} of 6, saved as .*step-0000000{stop}") as caught:
        go(tmp_path / "cut", first, batches=stopping)
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    go(tmp_path / "cut", rest)
    # The same seeds, the same masks, the same draws of dropout (the third), the same weights to the bit.
    assert first.calls + rest.calls == whole.calls
    assert torch.equal(rest.weight, whole.weight)
    assert metrics(tmp_path / "cut", "loss") == metrics(tmp_path / "whole", "loss")
    assert len({seed for seed, _, _ in whole.calls}) == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_scheduler_s_signal_saves_too(tmp_path: Path, number: int) -> None:
    def stopping(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        os.kill(os.getpid(), number)
        yield from stream(start)

    with pytest.raises(Interrupted, match="stopped at step 1 of 6"):
        go(tmp_path, Toy(), batches=stopping)
    assert names(tmp_path) == [1]


def test_what_is_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    def hung_up(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        os.kill(os.getpid(), signal.SIGHUP)
        yield from stream(start)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert go(tmp_path, Toy(), batches=hung_up).name == "step-00000006"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def impatient(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield from stream(start)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, Toy(), batches=impatient)
    assert names(tmp_path) == []


def test_a_ctrl_c_during_the_last_evaluation_loses_nothing(tmp_path: Path) -> None:
    def evaluate() -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"R@1": 1.0}

    assert go(tmp_path, Toy(), evaluate).name == "step-00000006"
    # In the middle, the wish is heard at the end of the next step.
    with pytest.raises(Interrupted, match="stopped at step 4 of 6"):
        go(tmp_path / "middle", Toy(), evaluate, eval_every=3, save_every=100)


def test_a_signal_in_the_last_step_keeps_what_follows_from_starting(tmp_path: Path) -> None:
    def stopping(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        for step, item in enumerate(stream(start), start):
            if step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield item

    with pytest.raises(Interrupted, match=r"stopped at step 6 of 6, saved as .*step-00000006\n.*the same command"):
        go(tmp_path / "more", Toy(), batches=stopping, more=True)
    assert names(tmp_path / "more") == [2, 4, 6]
    assert go(tmp_path / "more", Toy(), more=True).name == "step-00000006", "it goes on"
    assert go(tmp_path / "all", Toy(), batches=stopping).name == "step-00000006", "nothing is left to stop"


def test_the_tail_sees_everything(tmp_path: Path) -> None:
    model = Toy()
    go(tmp_path, model, steps=8, unmasked_tail=0.25)
    assert [masked for _, masked, _ in model.calls] == [True] * 6 + [False] * 2


def test_evaluations_come_when_asked_for_and_at_the_end(tmp_path: Path) -> None:
    seen = []

    def evaluate() -> dict[str, float]:
        seen.append(names(tmp_path))
        return {"t2v R@1": 12.5}

    go(tmp_path, Toy(), evaluate, steps=7, eval_every=3)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "t2v R@1" in row] == [3, 6, 7]
    assert seen[-1] == [2, 4, 6, 7], "saved first, for an evaluation may fail"


def test_a_failing_evaluation_costs_no_training(tmp_path: Path) -> None:
    def evaluate() -> dict[str, float]:
        raise WorkError("a damaged video")

    with pytest.raises(WorkError, match="a damaged video"):
        go(tmp_path, Toy(), evaluate)
    assert names(tmp_path) == [2, 4, 6]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path: Path, value: float) -> None:
    model = Toy(lambda call: value if call == 4 else 1.0)
    words = rf"the loss is {value}, .* at step 4; this batch held clip-1, clip-2, clip-3, clip-4"
    with pytest.raises(WorkError, match=words) as caught:
        go(tmp_path, model)
    assert "--lr" in caught.value.hint
    assert names(tmp_path) == [2]
    assert metrics(tmp_path, "step") == [1, 2, 3]


@pytest.mark.parametrize("fused", [True, False])
def test_some_steps_may_be_skipped_and_change_nothing(tmp_path: Path, fused: bool) -> None:
    """With steps 2 and 4 skipped, the weights are those of the four other steps."""
    poisoned, clean = Toy(lambda call: float("nan") if call in (2, 4) else 1.0), Toy()
    go(tmp_path / "poisoned", poisoned, skip_nonfinite=2, fused=fused, save_every=3, log_every=3)
    rows = [json.loads(line) for line in (tmp_path / "poisoned/nonfinite.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0]["keys"] == list(batch_of(1).keys)
    optimizer = torch.optim.AdamW(clean.parameters(), lr=0.5)
    for step in (0, 2, 4, 5):
        optimizer.param_groups[0]["lr"] = 0.5 * warmup_cosine(step, 6, 2, 0.0)
        sum(clean(batch_of(step), 0).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(poisoned.weight, clean.weight)
    with (tmp_path / "poisoned/nonfinite.jsonl").open("a") as file:
        file.write('{"step": 8}\n')  # of a run that was killed before its next checkpoint
    again = Toy(lambda call: float("nan"))
    with pytest.raises(WorkError, match="at step 7; this batch"):  # the two count on after a restart
        go(tmp_path / "poisoned", again, skip_nonfinite=2, fused=fused, steps=9)
    rows = [json.loads(line) for line in (tmp_path / "poisoned/nonfinite.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 7], "what comes again is told once"


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("skipped", [(1,), (2, 4), (6,)])
def test_a_step_that_was_left_out_moves_no_average(tmp_path: Path, fused: bool, skipped: tuple[int, ...]) -> None:
    """The average of all steps is that of the weights at the first, and of those that were taken after it."""

    class Kept(Average):
        def follow(self, model: Any, left_out: torch.Tensor) -> None:
            super().follow(model, left_out)
            trained.append(model.weight.detach().clone())

    trained: list[torch.Tensor] = []
    objective = Toy(lambda call: float("nan") if call in skipped else 1.0)
    objective.model = Toy()
    objective.model.weight = objective.weight
    average = Kept(objective.model, 0.9, torch.device("cpu"), begun=False)
    go(tmp_path, objective, average=average, fused=fused, skip_nonfinite=2, log_every=3, save_every=6)
    mean = trained[0]
    for step, weights in enumerate(trained[1:], start=2):
        mean = mean if step in skipped else 0.9 * mean + 0.1 * weights
    torch.testing.assert_close(average.module.weight, mean)


def test_gradients_that_are_not_finite_stop_it_too(tmp_path: Path) -> None:
    model = Toy()
    model.weight.register_hook(lambda grad: grad * float("nan") if len(model.calls) == 3 else grad)
    with pytest.raises(WorkError, match=r"the loss is [\d.]+, its gradient's norm nan, at step 3"):
        go(tmp_path, model)


def test_gradients_are_clipped_where_asked(tmp_path: Path) -> None:
    free, clipped = Toy(lambda call: 100.0), Toy(lambda call: 100.0)
    norms: list[float] = []
    clipped.weight.register_post_accumulate_grad_hook(lambda p: norms.append(float(p.grad.norm())))
    go(tmp_path / "free", free)
    go(tmp_path / "clipped", clipped, clip=1e-6, steps=1)
    assert metrics(tmp_path / "clipped", "gradient_norm")[0] == pytest.approx(norms[0]), "as it was before clipping"
    assert norms[0] > 1


def test_bad_samples_are_counted_and_too_many_stop_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def some(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        for batch, _ in stream(start):
            yield batch, [("clip-1", "corrupt", "torn")] if "clip-1" in batch.keys else []

    go(tmp_path / "some", Toy(), batches=some)
    assert "samples could not be read: see" in capsys.readouterr().err
    assert json.loads((tmp_path / "some/quarantine.jsonl").read_text())["key"] == "clip-1"

    def most(start: int) -> Iterator[tuple[Batch, list[Any]]]:
        for batch, _ in stream(start):
            yield batch, [(key, "corrupt", "torn") for key in batch.keys]

    with pytest.raises(WorkError, match=r"16 of 16 samples could not be read \(16 corrupt\)"):
        go(tmp_path / "most", Toy(), batches=most)
    assert names(tmp_path / "most") == [2], "what was saved stays"


def test_the_best_checkpoint_is_kept_and_pointed_at(tmp_path: Path) -> None:
    """Scores 5, 9, 9, 7 at steps 3, 6, 9, 10: the first 9 is the best, and outlives its elders and its successors."""

    def scores(values: list[float]) -> Callable[[], dict[str, float]]:
        return lambda: {"t2v R@1": values.pop(0)}

    go(tmp_path, Toy(), scores([5.0, 9.0, 9.0, 7.0]), steps=10, eval_every=3, save_every=5, keep=1, best="t2v R@1")
    assert names(tmp_path) == [6, 10]
    assert (tmp_path / "best").resolve() == (tmp_path / "checkpoints/step-00000006").resolve()
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 6, "metric": "t2v R@1", "value": 9.0}
    assert checkpoint.resolve(tmp_path / "best").name == "best"
    # It goes on with what it knew; a better one takes the place, and the old one goes when the next is saved.
    go(tmp_path, Toy(), scores([8.0, 10.0, 1.0]), steps=17, eval_every=3, save_every=5, keep=1, best="t2v R@1")
    assert names(tmp_path) == [15, 17]
    assert (tmp_path / "best").readlink() == Path("checkpoints/step-00000015")


@pytest.mark.parametrize("cut", [3, 6, 7])
def test_an_evaluation_that_was_cut_off_is_made_up(tmp_path: Path, cut: int) -> None:
    """Saved, and ended in its evaluation: the same command scores that step first, and the best one is not missed."""
    scores, seen = {3: 5.0, 6: 9.0, 7: 7.0}, []

    def evaluate(ending: bool = False) -> dict[str, float]:
        seen.append(max(names(tmp_path)))
        if ending and seen[-1] == cut:
            raise WorkError("ended")
        return {"t2v R@1": scores[seen[-1]]}

    given = {"steps": 7, "eval_every": 3, "save_every": 3, "best": "t2v R@1"}
    with pytest.raises(WorkError, match="ended"):
        go(tmp_path, Toy(), lambda: evaluate(ending=True), **given)
    seen.clear()
    go(tmp_path, Toy(), evaluate, **given)
    assert seen == [step for step in scores if step >= cut]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["t2v R@1"]) for row in rows if "t2v R@1" in row] == list(scores.items())
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6, 7]
    assert (tmp_path / "best").readlink() == Path("checkpoints/step-00000006")
    seen.clear()
    go(tmp_path, Toy(), evaluate, **given)
    assert seen == [], "once"


def test_a_best_that_was_not_marked_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended between the evaluation and its mark: it is scored again, and marked."""
    given = {"eval_every": 2, "best": "t2v R@1"}

    def end(*given: object, **more: object) -> None:
        raise WorkError("ended")

    with monkeypatch.context() as patch, pytest.raises(WorkError, match="ended"):
        patch.setattr(Best, "mark", end)
        go(tmp_path, Toy(), lambda: {"t2v R@1": 1.0}, **given)
    go(tmp_path, Toy(), lambda: {"t2v R@1": 1.0}, **given)
    assert metrics(tmp_path, "t2v R@1") == [1.0, 1.0, 1.0]
    assert (tmp_path / "best").readlink() == Path("checkpoints/step-00000002")


@pytest.mark.parametrize("left", ["another", "none", "a checkpoint that is gone", "a link to what is gone"])
def test_a_link_that_was_left_behind(tmp_path: Path, left: str) -> None:
    """The record was written, its link was not any more: it is made as the run goes on, if the checkpoint is there."""
    scores = [5.0, 9.0, 7.0, 8.0]
    go(tmp_path, Toy(), lambda: {"t2v R@1": scores.pop(0)}, eval_every=2, best="t2v R@1")
    gone = left.endswith("gone")
    if left != "a link to what is gone":
        (tmp_path / "best").unlink()
    if left == "another":
        checkpoint.mark_best(tmp_path, checkpoint.place(tmp_path, 2))
    if gone:
        (tmp_path / "checkpoints/step-00000004").rename(tmp_path / "checkpoints/torn-step-00000004")
    if left == "a link to what is gone":
        with pytest.raises(RunError, match=r"best is a link to checkpoints/step-00000004, which is not there\n.*run"):
            checkpoint.resolve(tmp_path / "best")
        Best(tmp_path, "t2v R@1", 6)
        assert not (tmp_path / "best").is_symlink()
    go(tmp_path, Toy(), lambda: {"t2v R@1": scores.pop(0)}, steps=8, eval_every=8, keep=1, best="t2v R@1")
    assert (tmp_path / "best").readlink().name == ("step-00000008" if gone else "step-00000004")
    assert json.loads((tmp_path / "best.json").read_text())["value"] == (8.0 if gone else 9.0)


def test_scores_of_other_shards_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best is sought anew on the new ones, and a step that was scored on the old ones alone is scored again."""
    given: dict[str, Any] = {"eval_every": 2, "best": "t2v R@1"}

    def score(value: float) -> Callable[[], dict[str, float]]:
        return lambda: {"t2v R@1": value}

    def best() -> dict[str, Any]:
        record = json.loads((tmp_path / "best.json").read_text())
        assert (tmp_path / "best").readlink().name == f"step-{record['step']:08d}"
        return record

    go(tmp_path, Toy(), score(50.0), **given, steps=4, scored_on="old")
    assert best() == {"step": 2, "metric": "t2v R@1", "value": 50.0, "scored_on": "old"}
    capsys.readouterr()
    go(tmp_path, Toy(), score(6.0), **given, steps=8, scored_on="new")
    told = "the best checkpoint so far, of step 2, was scored on other shards: the best is sought anew\n"
    assert told in capsys.readouterr().err
    assert best() == {"step": 4, "metric": "t2v R@1", "value": 6.0, "scored_on": "new"}
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scored = [(row["step"], row["scored_on"]) for row in rows if "t2v R@1" in row]
    assert scored == [(2, "old"), (4, "old"), (4, "new"), (6, "new"), (8, "new")]

    # A run that is done, on others once more; and then on those of before, on which it was not scored last.
    for shards in ("newest", "new", "new"):
        go(tmp_path, Toy(), score(1.0), **given, steps=8, scored_on=shards)
        assert best() == {"step": 8, "metric": "t2v R@1", "value": 1.0, "scored_on": shards}
    assert len(metrics(tmp_path, "scored_on")) == 7, "each once"


def test_scores_that_do_not_say_of_which_shards_count_on(tmp_path: Path) -> None:
    """As older runs have them."""
    go(tmp_path, Toy(), lambda: {"t2v R@1": 5.0}, best="t2v R@1")
    go(tmp_path, Toy(), lambda: {"t2v R@1": 4.0}, best="t2v R@1", scored_on="known by now")
    assert metrics(tmp_path, "t2v R@1") == [5.0], "not again"
    go(tmp_path, Toy(), lambda: {"t2v R@1": 4.0}, best="t2v R@1", steps=8, scored_on="known by now")
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 6, "metric": "t2v R@1", "value": 5.0}


def test_a_best_checkpoint_that_is_damaged_is_no_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = [9.0, 5.0, 6.0]
    given: dict[str, Any] = {"eval_every": 2, "best": "t2v R@1"}
    go(tmp_path, Toy(), lambda: {"t2v R@1": scores.pop(0)}, **given)
    (tmp_path / "checkpoints/step-00000002/weights.pt").write_text("rot")
    capsys.readouterr()
    go(tmp_path, Toy(), lambda: {"t2v R@1": 4.0}, **given)
    told = capsys.readouterr().err
    assert "the best checkpoint so far, of step 2, cannot be used (" in told
    assert "weights.pt is not what was written): the best is sought anew\n" in told
    assert (tmp_path / "best").readlink().name == "step-00000006"
    assert json.loads((tmp_path / "best.json").read_text())["value"] == 4.0


def test_what_is_not_a_number_is_no_best(tmp_path: Path) -> None:
    scores = [float("nan"), 3.0, float("nan")]
    go(tmp_path, Toy(), lambda: {"t2v R@1": scores.pop(0)}, eval_every=2, best="t2v R@1")
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 4, "metric": "t2v R@1", "value": 3.0}
    assert metrics(tmp_path, "t2v R@1") == [None, 3.0, None]


def test_of_a_rank_less_is_better(tmp_path: Path) -> None:
    values = [5.0, 3.0, 4.0]
    go(tmp_path, Toy(), lambda: {"t2v MdR": values.pop(0)}, steps=6, eval_every=2, keep=9, best="t2v MdR")
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 4


def test_a_best_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.best = 'R@7' is not scored\n.*choose one of: t2v R@1"):
        go(tmp_path, Toy(), lambda: {"t2v R@1": 1.0}, best="R@7")


@pytest.mark.parametrize("value", ["1" + "0" * 400, '"x"', "null", "[]"])
def test_a_best_that_is_no_number(tmp_path: Path, value: str) -> None:
    (tmp_path / "best.json").write_text(f'{{"metric": "t2v R@1", "step": 0, "value": {value}}}')
    with pytest.raises(RunError, match=r"best\.json is damaged: .*\n.*remove it"):
        Best(tmp_path, "t2v R@1", 5)


def test_a_torn_checkpoint_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go(tmp_path, Toy())
    (tmp_path / "checkpoints/step-00000006/state/trainer.json").write_text("{}")
    go(tmp_path, Toy())
    assert "going on from step 4 (step-00000006 is torn)" in capsys.readouterr().err
    assert names(tmp_path) == [2, 4, 6]


class Snap(Toy):
    """Tells its steps, and its tokens, as MILES does."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def after_step(self, done: int) -> None:
        self.steps.append(done)

    def clip_tokens(self, masked: bool) -> int:
        return 92 if masked else 192


def test_an_objective_hears_of_steps_and_tells_its_tokens(tmp_path: Path) -> None:
    model = Snap()
    go(tmp_path, model)
    assert model.steps == [1, 2, 3, 4, 5, 6]
    for samples, tokens in zip(metrics(tmp_path, "samples_per_s"), metrics(tmp_path, "tokens_per_s"), strict=True):
        assert tokens == pytest.approx(100 * samples, rel=0.01), "92 of the clip, 8 of the caption"
    assert all(gb > 0.05 for gb in metrics(tmp_path, "memory_gb"))
