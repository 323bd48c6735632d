"""A fourth objective, trained without touching vtr: each clip is hidden twice, in two ways.

Both views are aligned with the caption, as MAC does with one, and with each other. What an objective is asked for
stands on top of vtr/objectives/__init__.py. Random draws come from the seed that it is handed and the samples' numbers,
so a run that is interrupted and goes on is the run that was not.

    python examples/custom_objective.py SHARDS OUT [STEPS]
    torchrun --nproc_per_node 2 examples/custom_objective.py SHARDS OUT [STEPS]    in two processes
"""

import os
import sys

import torch
from torch import nn

import vtr
from vtr import recipe
from vtr.data.tokenizer import CaptionTokenizer
from vtr.gather import gather
from vtr.losses import norm_softmax
from vtr.masking import visible_cells, visible_count
from vtr.models.dual import DualEncoder
from vtr.rng import fold_in, fold_in_rows
from vtr.types import Batch


class TwoViews(nn.Module):
    """Align a caption with two masked views of its clip, and the views with each other."""

    def __init__(
        self, model: DualEncoder, tokenizer: CaptionTokenizer, mask_ratio: float = 0.75, views_weight: float = 0.2
    ) -> None:
        super().__init__()  # this objective hides no words, else it would need tokenizer.mask_id
        self.model, self.views_weight = model, views_weight
        self.visible = visible_count(model.video.cells, mask_ratio)

    def forward(self, batch: Batch, seed: int, masked: bool = True) -> dict[str, torch.Tensor]:
        """(B,...) -> {"contrastive": (), "views": ()}, whose sum is minimised."""

        def view(number: int) -> torch.Tensor:
            cells = None
            if masked:
                rows = fold_in_rows(fold_in(seed, number), batch.samples)
                slots = batch.clips.shape[1] // self.model.video.tubelet
                cells = visible_cells(rows, slots, self.model.video.cells, self.visible)
            return gather(self.model.encode_video(batch.clips, cells))  # negatives come from all processes

        one, other = view(0), view(1)
        text = gather(self.model.encode_text(batch.ids, batch.attention))
        ok, samples = gather(batch.ok), gather(batch.samples)  # unreadable clips count neither as rows nor as columns

        def align(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return norm_softmax(a, b, self.model.temperature, ok, samples)

        captions = (align(one, text) + align(other, text)) / 2
        return {"contrastive": captions, "views": self.views_weight * align(one, other)}


def main() -> None:
    """Trains mac-tiny's encoders with the objective above, and scores them on the clips that they have seen."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    shards, out, steps = sys.argv[1], sys.argv[2], int((sys.argv[3:] or ["600"])[0])
    config = recipe.override(recipe.load("mac-tiny"), {"train.steps": steps})
    vtr.pretrain(config, shards, out, objective=TwoViews)
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes one tells
    scores = vtr.evaluate(out, shards)["t2v"]
    print(f"text to video, on the clips it was trained on: R@1 {scores['R@1']:.1f}, R@10 {scores['R@10']:.1f}")


if __name__ == "__main__":  # the processes that decode import this file too
    main()
