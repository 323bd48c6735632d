"""Every setting of a run, as frozen dataclasses that are checked when they are made.

A recipe is a TOML file of these sections; `--set section.key=value` overrides one key. The default of a setting stands
here and nowhere else. Sources of the values: Frozen in Time (arXiv:2104.00650), MAC (arXiv:2212.00986).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vtr.errors import ConfigError

FITS = ("centre", "crop-bicubic", "crop-bilinear", "squeeze-bicubic", "squeeze-bilinear")
Scalar = bool | int | float | str | list[float]


def _choice(section: str, **values: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, allowed) in values.items():
        if value not in allowed:
            raise ConfigError(f"{section}.{name} = {value!r} is unknown", f"choose one of: {', '.join(allowed)}")


def _at_least(section: str, least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ConfigError(
                f"{section}.{name} = {value}, it must be at least {least:g}", f"give --set {section}.{name}=N"
            )


def _at_most(section: str, most: float, **values: float) -> None:
    for name, value in values.items():
        if value > most:
            raise ConfigError(f"{section}.{name} = {value}, it must be at most {most:g}", "look for a slip of the pen")


def _share(section: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ConfigError(f"{section}.{name} = {value}, it must be at least 0 and below 1", "0.6 is 60 %")


@dataclass(frozen=True)
class DataConfig:
    """How a stored video becomes a clip of `frames` x `size` x `size` pixels, and a caption `words` tokens."""

    frames: int = 4  # frames of a clip; a multiple of model.tubelet
    sampler: str = "segments"  # one frame of each of `frames` equal segments; dense: a window, `stride` frames apart
    stride: int = 1  # frames from one to the next of a dense clip
    size: int = 224  # height and width of a clip in pixels; a multiple of model.patch
    resize: int = 256  # short side before the crop of `size` in evaluation
    # How a frame is made to fit in evaluation. centre: short side to `resize`, bilinear; crop-MODE, squeeze-MODE: as
    # the image processors of CLIP and SigLIP do, short side or both, by that interpolation.
    fit: str = "centre"  # how a frame becomes a square: its centre, or as the processor of CLIP or SigLIP does it
    crop_min: float = 0.5  # training crops cover at least this share of the picture; 1 gives the evaluation crop
    flip: bool = True  # switch off where captions say "left" and "right"
    words: int = 32  # longest caption in tokens, special ones included
    decoder: str = "auto"  # auto: decord where sharding has proven it right, else PyAV; pyav: always PyAV
    workers: int = 2  # processes that decode, of each training process; 0: it decodes itself, without a time limit
    time_limit_s: float = 60.0  # for decoding one clip, in a worker
    cache_gb: float = 0.0  # decoded frames held in memory, shared by the workers
    fixed_length: bool = False  # pad all captions to `words`, for compiled models

    def __post_init__(self) -> None:
        _at_least("data", 1, frames=self.frames, size=self.size, resize=self.resize, stride=self.stride)
        _at_least("data", 1, time_limit_s=self.time_limit_s)
        _at_least("data", 3, words=self.words)
        _at_most("data", 8192, size=self.size, resize=self.resize, frames=self.frames, words=self.words)
        _at_most("data", 1024, workers=self.workers)
        _at_least("data", 0, workers=self.workers, cache_gb=self.cache_gb)
        _choice("data", decoder=(self.decoder, ("auto", "pyav")), sampler=(self.sampler, ("segments", "dense")))
        _choice("data", fit=(self.fit, FITS))
        if not 0 < self.crop_min <= 1:
            raise ConfigError(f"data.crop_min = {self.crop_min}, it must be above 0 and at most 1", "0.5 is usual")
        if self.resize < self.size:
            raise ConfigError(
                f"data.resize = {self.resize} is below data.size = {self.size}",
                "the crop is taken out of the resized frame",
            )


@dataclass(frozen=True)
class ModelConfig:
    """The encoders. `video` and `text` name pretrained weights (timm, transformers, or a directory); empty: new."""

    kind: str = "dual"  # dual: two towers; unified: one for both (SimVTP); twin: two copies of that, to fine-tune
    video: str = ""  # the video tower's weights: a name of timm, local-dir:PATH, or clip:NAME; empty: new ones
    text: str = ""  # the text tower's weights and tokenizer: a name of transformers, or a directory; empty: new ones
    width: int = 768  # of the video encoder's tokens
    depth: int = 12  # blocks of the video encoder
    heads: int = 12  # of its attention; they divide the width
    patch: int = 16  # height and width of a patch in pixels
    tubelet: int = 1  # frames that a patch goes through
    attention: str = "divided"  # divided: over time, then over space; joint: every token sees every other
    time_init: str = "proj"  # qkv: as released; time attention then learns nothing but an average over time
    grow_time: str = "zeros"  # what a longer clip's new positions in time start from: zeros, or interpolate
    drop_path: float = 0.0  # how often the video encoder's (unified: the encoder's) last block is left out in training
    dropout: float = 0.1  # of the word embeddings of a unified encoder
    pool_includes_pad: bool = False  # a unified encoder's mean over a caption takes in padding, as released
    positions: str = "learned"  # learned: small random values, times zero; sincos: start from sines and cosines
    text_width: int = 768  # of a new text encoder, as width
    text_depth: int = 6  # of a new text encoder, as depth
    text_heads: int = 12  # of a new text encoder, as heads
    vocabulary: int = 8192  # at most so many word pieces, where the tokenizer is trained on the captions
    pool: str = "cls"  # how a caption's tokens become one vector: the first, their mean, or the last
    text_head: str = "relu"  # before the text's projection: relu (Frozen), or linear: nothing (CLIP)
    pixels: str = "imagenet"  # the colours' mean and deviation that the video weights want: imagenet, clip, half
    activation: str = "gelu"  # of the video encoder; OpenAI's CLIP has quick_gelu
    lora_rank: int = 0  # low-rank updates of this rank are trained in place of the towers' matrices; 0: none
    lora_alpha: float = 16.0  # the updates' weight is alpha / rank
    norm_pre: bool = False  # a norm before the video encoder's blocks, as CLIP's ViTs have it
    embed_dim: int = 256  # length of the vectors that clips and captions are compared by
    temperature: float = 0.05  # similarities are divided by it in the loss
    learn_temperature: bool = False  # train it, too

    def __post_init__(self) -> None:
        _at_least(
            "model", 1, width=self.width, depth=self.depth, heads=self.heads, patch=self.patch, tubelet=self.tubelet,
            text_width=self.text_width, text_depth=self.text_depth, text_heads=self.text_heads,
            embed_dim=self.embed_dim,
        )  # fmt: skip
        _at_least("model", 32, vocabulary=self.vocabulary)
        _at_most("model", 1_000_000, vocabulary=self.vocabulary)
        _at_most(
            "model", 65_536, width=self.width, depth=self.depth, text_width=self.text_width,
            text_depth=self.text_depth, embed_dim=self.embed_dim, patch=self.patch, lora_rank=self.lora_rank,
        )  # fmt: skip
        _at_least("model", 0, lora_rank=self.lora_rank)
        _choice(
            "model",
            attention=(self.attention, ("divided", "joint")),
            time_init=(self.time_init, ("qkv", "proj")),
            positions=(self.positions, ("learned", "sincos")),
            pool=(self.pool, ("cls", "mean", "last")),
            text_head=(self.text_head, ("relu", "linear")),
            pixels=(self.pixels, ("imagenet", "clip", "half")),
            activation=(self.activation, ("gelu", "quick_gelu", "gelu_tanh")),
            kind=(self.kind, ("dual", "unified", "twin")),
            grow_time=(self.grow_time, ("zeros", "interpolate")),
        )
        _share("model", drop_path=self.drop_path, dropout=self.dropout)
        if self.kind != "dual" and self.embed_dim != self.width:
            raise ConfigError(
                f"model.embed_dim = {self.embed_dim}, a {self.kind} encoder's vectors have model.width = {self.width}",
                "give model.embed_dim the value of model.width",
            )
        if not self.temperature > 0:
            raise ConfigError(f"model.temperature = {self.temperature}, it must be above 0", "0.05 is usual")
        for name, width, heads in (("", self.width, self.heads), ("text_", self.text_width, self.text_heads)):
            if width % heads:
                raise ConfigError(
                    f"model.{name}width = {width} does not divide into model.{name}heads = {heads}",
                    "64 wide heads are usual",
                )
        if self.positions == "sincos" and self.width % 4:
            raise ConfigError(
                f"model.width = {self.width} does not divide by 4, as sines and cosines of two axes need",
                "choose another width, or model.positions = 'learned'",
            )


OWN = "own"  # the name of an objective that no config describes
OBJECTIVES = ("mac", "simvtp", "miles", "contrastive", OWN)
_MASKED = ("loss", "mask", "mask_ratio", "word_ratio")
# Of the settings below those that each objective looks at.
HEEDED = {
    "contrastive": ("loss",),
    "mac": _MASKED,
    "simvtp": (*_MASKED, "negatives", "decoder_width", "decoder_depth", "decoder_heads", "pixel_floor"),
    "miles": (
        *_MASKED, "predict_weight", "predict_space", "predict_head", "snapshot_samples", "snapshot_momentum",
        "snapshot_wait",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is hidden, and what the loss asks."""

    name: str = "mac"  # see docs/objectives; contrastive: nothing is hidden; own: the `objective` given to pretrain
    mask: str = "per_frame"  # per_frame: other cells in each frame; tube: the same in all; block: contiguous ones
    mask_ratio: float = 0.6  # share of the patches of a clip that is hidden
    word_ratio: float = 0.15  # share of the words of a caption that is hidden
    negatives: str = "random"  # SimVTP's wrong pairs; hard: the likelier the more alike
    decoder_width: int = 384  # SimVTP's pixel decoder
    decoder_depth: int = 4  # its blocks
    decoder_heads: int = 6  # they divide its width, which must be even
    pixel_floor: float = 1e-6  # added to a tube's deviation (pixels of 0 to 1) that SimVTP divides by; flat tubes fade
    predict_weight: float = 1.0  # MILES's lambda
    predict_space: str = "joint"  # where MILES compares features: joint, after the projection, or tokens, before it
    predict_head: str = "none"  # between a masked patch's feature and its prediction: none, linear, mlp
    snapshot_samples: int = 0  # MILES's snapshot moves after so many samples; 0: after each pass over the data
    snapshot_momentum: float = 0.0  # 0: it becomes a copy then; above: it follows at every step (an EMA, rising to 1)
    snapshot_wait: bool = True  # nothing is predicted before the snapshot's first turn
    loss: str = "softmax"  # sigmoid: each pair on its own (SigLIP); give model.learn_temperature = true with it

    def __post_init__(self) -> None:
        _choice(
            "objective", name=(self.name, OBJECTIVES),
            mask=(self.mask, ("per_frame", "tube", "block")), loss=(self.loss, ("softmax", "sigmoid")),
            negatives=(self.negatives, ("random", "hard")), predict_space=(self.predict_space, ("joint", "tokens")),
            predict_head=(self.predict_head, ("none", "linear", "mlp")),
        )  # fmt: skip
        _share(
            "objective", mask_ratio=self.mask_ratio, word_ratio=self.word_ratio,
            snapshot_momentum=self.snapshot_momentum,
        )  # fmt: skip
        _at_least("objective", 0, predict_weight=self.predict_weight, snapshot_samples=self.snapshot_samples)
        _at_least("objective", 1e-6, pixel_floor=self.pixel_floor)
        _at_least("objective", 1, decoder_depth=self.decoder_depth, decoder_heads=self.decoder_heads)
        if self.decoder_width < 2 or self.decoder_width % self.decoder_heads or self.decoder_width % 2:
            raise ConfigError(
                f"objective.decoder_width = {self.decoder_width} does not divide into objective.decoder_heads = "
                f"{self.decoder_heads}",
                "64 wide heads are usual",
            )


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a linear warm-up and a cosine."""

    lr: float = 3e-5  # highest learning rate; above 0
    lr_batch: int = 0  # `lr` is meant for this global batch and scales with it; 0: as it stands
    lr_cap: float = 0.0  # scaled no higher than this; 0: no cap
    floor: float = 0.0  # the last learning rate as a share of the highest
    warmup: float = 0.05  # share of all steps
    weight_decay: float = 0.05  # of matrices; norms and biases have none
    beta1: float = 0.9  # AdamW's decay of the mean gradient
    beta2: float = 0.98  # AdamW's decay of the mean square
    clip: float = 0.0  # largest gradient norm; 0: no clipping
    layer_decay: float = 1.0  # each layer's learning rate as a share of the one's above it; 1: all alike
    freeze: str = ""  # what stays as it is: video, text, a number of first blocks; several with commas between

    def __post_init__(self) -> None:
        _at_least(
            "optim", 0, lr_batch=self.lr_batch, lr_cap=self.lr_cap, weight_decay=self.weight_decay, clip=self.clip
        )
        _share("optim", warmup=self.warmup, beta1=self.beta1, beta2=self.beta2, floor=self.floor)
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"optim.layer_decay = {self.layer_decay}, it must be above 0 and at most 1", "0.75 is usual"
            )
        for part in filter(None, self.freeze.split(",")):
            if part not in ("video", "text") and not part.isdecimal():
                raise ConfigError(
                    f"optim.freeze = {self.freeze!r}: {part!r} is unknown", "give video, text or a number of blocks"
                )
        if not self.lr > 0:
            raise ConfigError(f"optim.lr = {self.lr}, it must be above 0", "try --lr 3e-5")


@dataclass(frozen=True)
class TrainConfig:
    """How long, how large, how exact, and what is written on the way."""

    epochs: float = 1.0  # passes over the data; above 0
    steps: int = 0  # instead of epochs, when above 0
    min_steps: int = 0  # few videos are shown for more epochs, until there are so many steps
    batch_size: int = 128  # clips a step over all processes
    precision: str = "auto"  # auto: bf16 where the hardware has it, else fp32
    device: str = "auto"  # auto: the GPU where there is one; cpu, cuda, cuda:1 ...
    seed: int = 0  # of weights, order, crops and masks
    unmasked_tail: float = 0.0  # the last share of the steps sees everything
    log_every: int = 10  # steps between lines of metrics.jsonl
    save_every: int = 1000  # steps between checkpoints
    eval_every: int = 0  # steps between evaluations, with --eval-shards; 0: at the end alone
    keep: int = 2  # newest checkpoints; the best one is kept beside them
    best: str = ""  # a figure of the evaluation, "t2v R@1" say, by which RUN/best is chosen
    accumulate: int = 1  # pieces in which a process takes its share of a batch
    accumulate_how: str = "exact"  # exact: gradients of the whole batch; plain: each piece sees its own negatives alone
    checkpointing: bool = False  # compute activations again for the gradient, instead of keeping them
    ema: float = 0.0  # decay of an average of the weights, which is then what a checkpoint offers; 0: none
    compile: bool = False  # torch.compile; needs data.fixed_length
    skip_nonfinite: int = 0  # steps with a loss or gradient that is not finite may be left out so many times
    tracker: str = ""  # tensorboard, wandb or another of Accelerate's, beside metrics.jsonl

    def __post_init__(self) -> None:
        _at_least("train", 0, min_steps=self.min_steps)
        _at_most("train", 1e6, epochs=self.epochs)
        _at_most("train", 1e9, steps=self.steps, min_steps=self.min_steps, batch_size=self.batch_size)
        _at_least("train", 0, steps=self.steps, eval_every=self.eval_every, skip_nonfinite=self.skip_nonfinite)
        _at_least("train", 1, accumulate=self.accumulate)
        _at_least("train", 1, log_every=self.log_every, save_every=self.save_every, keep=self.keep)
        _at_least("train", 2, batch_size=self.batch_size)
        _share("train", unmasked_tail=self.unmasked_tail, ema=self.ema)
        _choice("train", accumulate_how=(self.accumulate_how, ("exact", "plain")))
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"train.seed = {self.seed}, it must be at least 0 and below 2^32", "try --seed 0")
        _choice("train", precision=(self.precision, ("auto", "fp32", "bf16", "fp16")))
        if self.steps == 0 and not self.epochs > 0:
            raise ConfigError(f"train.epochs = {self.epochs}, it must be above 0", "or give --steps N")


@dataclass(frozen=True)
class Config:
    """A whole recipe. `finetune` holds what `vtr finetune` changes in it: `{"optim.lr": 1e-5, ...}`.

    `stages` hold what each stage of a pretraining changes in it, where it has several, one after the other.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    finetune: Mapping[str, Scalar] = field(default_factory=dict)
    stages: tuple[Mapping[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        model, data = self.model, self.data
        if self.train.compile and not data.fixed_length:
            raise ConfigError(
                "train.compile = true compiles anew for each length of the captions", "add --set data.fixed_length=true"
            )
        if data.size % model.patch or data.frames % model.tubelet:
            raise ConfigError(
                f"clips of {data.frames} frames of {data.size} pixels do not divide into patches "
                f"of {model.tubelet} frames of {model.patch} pixels",
                "choose data.frames and data.size as multiples of model.tubelet and model.patch",
            )
        wanted = {"mac": "dual", "miles": "dual", "simvtp": "unified"}.get(self.objective.name)
        if wanted and model.kind != wanted:
            raise ConfigError(
                f"objective.name = {self.objective.name!r} trains no {model.kind} encoder",
                f"give model.kind = {wanted!r}, or begin with the recipe {self.objective.name}-tiny",
            )
        if self.objective.name == "simvtp" and self.train.unmasked_tail:
            raise ConfigError(
                f"train.unmasked_tail = {self.train.unmasked_tail}: without masks SimVTP has nothing to restore",
                "leave it at 0, and fine-tune: that sees whole clips",
            )
