"""What papers report under a protocol, to stand beside a result and never in its place: text to video, as they say.

Only figures of the papers whose methods are in this package. None was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

FROZEN, MAC = "arXiv:2104.00650", "arXiv:2212.00986"
SIMVTP, MILES = "arXiv:2212.03490", "arXiv:2204.12408"
METRICS = ("R@1", "R@5", "R@10", "MdR")


@dataclass(frozen=True)
class Published:
    """One row of a paper: R@1, R@5, R@10 in percent and MdR, of `protocol`, text to video."""

    protocol: str
    model: str
    setting: str  # zero-shot or fine-tuned
    numbers: tuple[float, float, float, float]
    source: str
    note: str = ""

    def record(self) -> dict[str, object]:
        """The row as it stands in a result file."""
        numbers = dict(zip(METRICS, self.numbers, strict=True))
        whose = {"model": self.model, "setting": self.setting, "source": self.source, "note": self.note}
        return {**whose, "t2v": numbers}


_VIEWS = "checkpoint chosen on the test set, several views of a video averaged"
_ROWS = (
    Published("msrvtt-1ka", "Frozen in Time", "zero-shot", (18.7, 39.5, 51.6, 10), FROZEN),
    Published("msrvtt-1ka", "Frozen in Time", "fine-tuned", (31.0, 59.5, 70.5, 3), FROZEN),
    Published("msrvtt-1ka", "MAC", "fine-tuned", (38.9, 63.1, 73.9, 3), MAC),
    Published("msrvtt-1ka", "SimVTP", "fine-tuned", (53.6, 82.8, 90.8, 1), SIMVTP, _VIEWS),
    Published("msrvtt-1ka", "MILES", "zero-shot", (26.1, 47.2, 56.9, 7), MILES),
    Published("msrvtt-1ka", "MILES", "fine-tuned", (37.7, 63.6, 73.8, 3), MILES),
    Published("msvd", "MILES", "zero-shot", (44.4, 76.2, 87.0, 2), MILES),
    Published("msvd", "MILES", "fine-tuned", (53.9, 83.5, 90.2, 1), MILES),
    Published("lsmdc", "MILES", "zero-shot", (11.1, 24.7, 30.6, 50.7), MILES),
    Published("lsmdc", "MILES", "fine-tuned", (17.8, 35.6, 44.1, 15.5), MILES),
    Published("didemo", "MILES", "zero-shot", (27.2, 50.3, 63.6, 5), MILES),
    Published("didemo", "MILES", "fine-tuned", (36.6, 63.9, 74.0, 3), MILES),
)


def published(protocol: str) -> list[Published]:
    """The papers' rows under `protocol`, in the order of their dates; none for most."""
    return [row for row in _ROWS if row.protocol == protocol]
