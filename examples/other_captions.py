"""Are clips found by words that the model was not trained on? A table in, R@1 out.

Trains a small model on the first caption of each video and searches with the second one: the share that comes first,
beside what guessing would find.

    python examples/other_captions.py clips/captions.csv [WORK] [STEPS]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import vtr
from vtr import recipe


def main(table: Path, work: Path, steps: int) -> float:
    captions: dict[str, list[str]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions.setdefault(row["video"], []).append(row["caption"])
    both = {video: texts for video, texts in captions.items() if len(texts) > 1}
    work.mkdir(parents=True, exist_ok=True)
    with (work / "first.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "caption"), *((video, texts[0]) for video, texts in both.items())])
    (work / "second.txt").write_text("".join(f"{texts[1]}\n" for texts in both.values()), "utf-8")

    vtr.shard("table", str(work / "first.csv"), work / "shards", root=table.parent)
    config = recipe.override(recipe.load("mac-tiny"), {"train.steps": steps, "train.batch_size": 32})
    vtr.pretrain(config, work / "shards", work / "model")
    vtr.embed(work / "model", work / "shards", work / "embeddings")
    found = vtr.search(work / "embeddings", queries=work / "second.txt", k=1)
    # A hit's source is the video as the table names it.
    first = sum(group["hits"][0]["source"] == video for group, video in zip(found, both, strict=True))
    print(f"R@1 of {len(both)} other captions: {100 * first / len(both):.1f} % (guessing: {100 / len(both):.1f} %)")
    return first / len(both)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    given = dict(enumerate(sys.argv))
    main(Path(given[1]), Path(given.get(2, "other-captions")), int(given.get(3, 400)))
