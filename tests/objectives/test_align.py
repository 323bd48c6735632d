"""The choice of a contrastive loss, and what the sigmoid one learns beside the model."""

from __future__ import annotations

import pytest
import torch
import toy

from vtr.errors import ConfigError
from vtr.losses import sigmoid
from vtr.objectives.align import Align
from vtr.objectives.contrastive import Contrastive
from vtr.objectives.mac import MAC


def test_the_sigmoid_loss_with_its_learned_bias():
    model, batch = toy.model(learn_temperature=True), toy.batch()
    objective = Contrastive(model, "sigmoid")
    loss = objective(batch, 0)["contrastive"]
    expected = sigmoid(model.encode_video(batch.clips), model.encode_text(batch.ids, batch.attention), 0.1, -10.0)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert objective.align.bias.grad.abs() > 0
    assert model.log_temperature.grad.abs() > 0
    assert [name for name in objective.state_dict() if not name.startswith("model.")] == ["align.bias"]


def test_mac_takes_it_too():
    assert MAC(toy.model(), toy.MASK_ID, loss="sigmoid")(toy.batch(), 0)["contrastive"] > 0


def test_an_unknown_loss():
    with pytest.raises(ConfigError, match=r"the loss 'hinge' is unknown\n.*softmax, sigmoid"):
        Align("hinge")


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_two_halves_are_the_whole(loss):
    objective, batch = MAC(toy.model(), toy.MASK_ID, 0.6, 0.3, loss=loss), toy.batch()
    rows = objective.rows(batch, 3, True)
    assert all(len(row) == len(batch) for row in rows.values())
    assert torch.equal(objective.losses(rows)["contrastive"], objective(batch, 3)["contrastive"])
