"""What stands for a DistilBERT where one is only counted, computes and keeps what it does, by the same names."""

from __future__ import annotations

import pytest
import torch

from vtr.footprint import keeping
from vtr.models.sketch import Sketch
from vtr.models.text import small_text, text_of

SHAPE = (200, 24, 2, 3, 8)  # words, width, layers, heads, positions


@pytest.mark.parametrize("half", [False, True])
def test_a_sketch_is_the_model(half: bool) -> None:
    real, sketched = small_text(*SHAPE), text_of(Sketch(*SHAPE))
    assert sketched.load_state_dict(real.state_dict()) == ([], [])
    ids, found, kept = torch.randint(5, 200, (2, 8)), [], []
    for model in (real, sketched):
        with keeping() as sizes, torch.autocast("cpu", torch.bfloat16, enabled=half):
            found.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state)
        kept.append(sum(sizes.values()))
    assert torch.equal(*found)
    assert kept[0] == kept[1] > 0
