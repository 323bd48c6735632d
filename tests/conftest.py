"""What many tests need and nobody wants to make twice: little shards, a nano recipe, a trained nano run.

Session fixtures are read-only: a test that damages something copies it first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Children inherit what is ignored, and a shell ignores these for what it starts in the background, or with nohup.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# Children inherit it: nothing in the tests may reach a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"

NANO = """
[data]
frames = 4
size = 32
resize = 36
crop_min = 0.8
flip = false
words = 24
decoder = "pyav"
workers = 0
[model]
width = 32
depth = 1
heads = 2
patch = 8
tubelet = 2
attention = "joint"
text_width = 32
text_depth = 1
text_heads = 2
vocabulary = 200
pool = "mean"
embed_dim = 16
[objective]
mask_ratio = 0.5
[optim]
lr = 1e-3
[train]
epochs = 2
batch_size = 8
precision = "fp32"
device = "cpu"
log_every = 1
save_every = 2
[finetune]
"train.epochs" = 1
"""
TRAIN, TEST = 24, 12


def make_shards(out: Path, split: str, count: int, per_shard: int) -> Path:
    from vtr import api

    api.shard("synthetic", "seed:3", out, split=split, limit=count, workers=1, per_shard=per_shard)
    return out


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training clips in three tars."""
    return make_shards(tmp_path_factory.mktemp("shards") / "train", "train", TRAIN, 8)


@pytest.fixture(scope="session")
def test_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 test clips in one tar."""
    return make_shards(tmp_path_factory.mktemp("shards") / "test", "test", TEST, 12)


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains in a second: 24 clips, batches of 8, two epochs, so 6 steps."""
    path = tmp_path_factory.mktemp("recipes") / "nano.toml"
    path.write_text(NANO)
    return path


@pytest.fixture(scope="module")
def staged(request: pytest.FixtureRequest, nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nano recipe with the STAGES of the module that asks for it."""
    path = tmp_path_factory.mktemp("recipes") / "staged.toml"
    path.write_text(nano.read_text() + request.module.STAGES)
    return path


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, nano: Path, shards: Path) -> Path:
    """A pretraining of the nano recipe, run to its end."""
    from vtr import api

    out = tmp_path_factory.mktemp("runs") / "nano"
    api.pretrain(str(nano), shards, out)
    return out


@pytest.fixture(scope="session")
def embeddings(tmp_path_factory: pytest.TempPathFactory, run: Path, test_shards: Path) -> Path:
    """The test clips' vectors of that run, as Parquet."""
    from vtr import api

    out = tmp_path_factory.mktemp("embeddings") / "parquet"
    api.embed(run, test_shards, out, device="cpu", precision="fp32")
    return out


@pytest.fixture(scope="session")
def distilbert(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A tiny DistilBERT with dropout and its tokenizer, as save_pretrained leaves them."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    from vtr.data import tokenizer
    from vtr.data.index import ShardIndex

    out = tmp_path_factory.mktemp("hub") / "distilbert"
    index = ShardIndex.open(shards)
    words = tokenizer.train([c for i in range(len(index)) for c in index.captions(i)], 24, 200)
    words.save(out)
    torch.manual_seed(1)
    shape = DistilBertConfig(
        vocab_size=words.vocabulary, dim=24, n_layers=1, n_heads=2, hidden_dim=48, max_position_embeddings=32
    )
    assert shape.dropout > 0
    DistilBertModel(shape).save_pretrained(out)
    return out


@pytest.fixture(scope="session")
def timm_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT as timm saves it: `model.video = "local-dir:PATH"`."""
    import timm
    import torch
    from timm.models._hub import save_for_hf

    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    torch.manual_seed(1)
    out = tmp_path_factory.mktemp("hub") / "vit"
    model = timm.create_model("vit_tiny_patch16_224", num_classes=7, **shape)
    save_for_hf(model, str(out), model_args=shape, safe_serialization=True)
    return out


@pytest.fixture
def disk_of() -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KB; skips where nobody may.

    Outside of pytest's folders: the mount of a test that was killed stays, and the next clean-up would trip over it.
    """
    disk = Path(tempfile.mkdtemp(prefix="vtr-disk-"))

    def make(size: int) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a file system can be mounted by root alone")
        return disk

    yield make
    subprocess.run(["umount", "--lazy", str(disk)], capture_output=True, check=False)
    disk.rmdir()
