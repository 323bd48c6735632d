"""The temporal probe's views of a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vtr.build import clip_shape, load_model
from vtr.data.index import ShardIndex
from vtr.data.loader import ClipDataset, batches
from vtr.data.order import evaluation_slots
from vtr.errors import InputError
from vtr.retrieval import views
from vtr.retrieval.embed import captions_of, embed_captions


def clips(batch=5, frames=6):
    return torch.arange(batch * frames, dtype=torch.uint8).view(batch, frames, 1, 1, 1).expand(-1, -1, 3, 2, 2)


def order(shown):
    return shown[:, :, 0, 0, 0]


def test_views_change_the_order_and_nothing_else():
    given, samples = clips(), torch.arange(5)
    assert order(views.reverse(given, samples)).equal(order(given).flip(1))
    assert order(views.one_frame(given, samples)).equal(order(given)[:, 3:4].expand(-1, 6))
    mixed = views.shuffled(given, samples)
    assert order(mixed).sort(dim=1).values.equal(order(given))
    assert not order(mixed).equal(order(given))


def test_a_sample_is_shuffled_the_same_in_any_batch():
    given, samples = clips(), torch.tensor([4, 9, 2, 7, 1])
    whole = order(views.shuffled(given, samples))
    for row in range(5):
        assert order(views.shuffled(given[row : row + 1], samples[row : row + 1])).equal(whole[row : row + 1])


def test_the_true_view_is_what_embedding_gives(run, test_shards):
    loaded, index = load_model(run, "cpu", "fp32"), ShardIndex.open(test_shards)
    shape = clip_shape(loaded.config)
    seen = views.embed_views(loaded.embedder, index, shape, loaded.tokenizer, probe=True, batch=5)
    found = batches(ClipDataset(index, shape), evaluation_slots(12, 5), loaded.tokenizer, 0)
    plain = np.concatenate([loaded.embed_video(batch.clips).numpy() for batch, _ in found])
    np.testing.assert_array_equal(seen.vectors["true"], plain)
    assert seen.rows.tolist() == list(range(12))
    for name in views.PROBES:
        assert seen.vectors[name].shape == plain.shape
        assert not np.allclose(seen.vectors[name], plain, atol=1e-6)


def test_one_frame_cannot_be_probed(run, test_shards):
    import dataclasses

    loaded, index = load_model(run, "cpu", "fp32"), ShardIndex.open(test_shards)
    shape = dataclasses.replace(clip_shape(loaded.config), frames=1)
    with pytest.raises(InputError, match="clips of one frame have no order to probe"):
        views.embed_views(loaded.embedder, index, shape, loaded.tokenizer, probe=True)


def share(rank, folder, run, shards):
    import warnings

    warnings.simplefilter("error")  # a child does not inherit what pytest asks for
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    seen, words = embedded(run, shards, together=True)
    np.savez(f"{folder}/{rank}.npz", words=words, rows=seen.rows, **seen.vectors)
    dist.destroy_process_group()


def embedded(run, shards, *, together):
    loaded, index = load_model(run, "cpu", "fp32"), ShardIndex.open(shards)
    shape, words = clip_shape(loaded.config), loaded.tokenizer
    seen = views.embed_views(loaded.embedder, index, shape, words, probe=True, batch=5, together=together)
    return seen, embed_captions(loaded.embedder, words, captions_of(index), 7, together=together)


def test_processes_share_the_work_to_the_bit(run, test_shards, tmp_path):
    mp.spawn(share, (str(tmp_path), run, test_shards), nprocs=2)
    torch.set_num_threads(1)
    seen, words = embedded(run, test_shards, together=False)
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npz")
        np.testing.assert_array_equal(found["words"], words)
        np.testing.assert_array_equal(found["rows"], seen.rows)
        for name, vectors in seen.vectors.items():
            np.testing.assert_array_equal(found[name], vectors)
