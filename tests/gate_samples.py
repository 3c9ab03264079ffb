"""A small baseline that the tests of the gate share, and ways to change it."""

from dataclasses import replace

from offramp.gate.baseline import RIGHT, WRONG, Baseline, Figures, FloatFigures, SampleSet

COUNT = 500


def hits(wrong: int, start: int = 0, count: int = COUNT) -> str:
    """A row of hits whose wrong samples are `wrong` in a row from `start`."""
    return RIGHT * start + WRONG * wrong + RIGHT * (count - start - wrong)


def figures(row: str | None = None, **changes: object) -> Figures:
    """Figures of an int8 artifact with the accuracy that its hits say."""
    row = hits(10) if row is None else row
    base = Figures(row.count(RIGHT) / len(row), 0.996, 100_000, {"8": 3_000, "32": 10}, 1.0, row)
    return replace(base, **changes)


def baseline(*names: str, **changes: object) -> Baseline:
    """A baseline of 500 samples with an artifact of each name, `onnx int8` where none is given."""
    row = hits(8)
    base = Baseline(
        "net",
        SampleSet("digits, held out", COUNT, "0" * 64),
        FloatFigures(row.count(RIGHT) / COUNT, row),
        {name: figures() for name in names or ("onnx int8",)},
    )
    return replace(base, **changes)
