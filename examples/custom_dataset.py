"""A data set of your own: a reader in 15 lines, with which every part of `vtr shard` then works.

python examples/custom_dataset.py                            # on made-up videos, in work/custom
python examples/custom_dataset.py shard clips-json DIR OUT   # `vtr shard`, which now knows one reader more
"""

import json
import sys
from pathlib import Path

import vtr
from vtr.data.annotations import READERS, ReaderOptions, Sample, make_key


def read(source: str, options: ReaderOptions) -> list[Sample]:
    """SOURCE/clips.json, `{"beach/dog.mp4": ["a dog runs", ...], ...}`; the videos lie beside it."""
    named = json.loads((Path(source) / "clips.json").read_text("utf-8"))
    samples = [
        Sample(
            key=make_key(Path(name).with_suffix("")),  # what the sample is called in the tars
            video=(options.root or Path(source)) / name,
            captions=tuple(captions),
            split=options.split or "train",
            source=name,  # how reports name it
        )
        for name, captions in sorted(named.items())  # the order is part of what is sharded: it must stay the same
    ]
    return samples[: options.limit]


READERS["clips-json"] = read


def main() -> None:
    """With arguments the command line; without, a data set of 16 clips and its shards."""
    if len(sys.argv) > 1:
        from vtr.cli import main as command_line

        command_line()
        return
    folder, captions = Path("work/custom"), {}
    (folder / "videos/toy").mkdir(parents=True, exist_ok=True)
    for made in READERS["synthetic"]("seed:0", ReaderOptions(limit=16)):
        captions[f"toy/{made.key}.mp4"] = made.captions
        (folder / f"videos/toy/{made.key}.mp4").write_bytes(made.video())
    (folder / "videos/clips.json").write_text(json.dumps(captions))

    done = vtr.shard("clips-json", str(folder / "videos"), folder / "shards", workers=1)
    print(f"{done.samples} videos, {done.captions} captions in {done.shards} shards: vtr inspect {done.out}")


if __name__ == "__main__":  # the processes that decode import this file too
    main()
