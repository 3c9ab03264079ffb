"""From a dist's document, recorded or measured now, to the figures that a baseline holds."""

from typing import Any

from ..errors import BadInput
from .baseline import RIGHT, WRONG, Baseline, Figures, FloatFigures, SampleSet, Tolerances


def figures_of(document: dict[str, Any], tolerances: Tolerances) -> Baseline:
    """The figures of every artifact, by target and precision.

    Raises:
        BadInput: the document says nothing of the samples, as those of older releases.
    """
    data, floating = document["data"], document["float"]
    if not data or not data.get("sha256"):
        raise BadInput(
            f"{document['name']}: its manifest does not say which samples its figures are of; "
            "leave out --recorded or deploy it anew"
        )
    labels, top = data.get("classes"), floating.get("classes")
    return Baseline(
        document["name"],
        SampleSet(data["name"], data["samples"], data["sha256"]),
        FloatFigures(floating["accuracy"], _hits(top, labels)),
        {artifact_name(row): _figures(row, labels, top) for row in document["artifacts"]},
        tolerances,
    )


def artifact_name(row: dict[str, Any]) -> str:
    """`onnx int8`."""
    return f"{row['target']} {row['precision']}"


def _figures(row: dict[str, Any], labels: str | None, top: str | None) -> Figures:
    same = _hits(row.get("classes"), top)
    return Figures(
        row["accuracy"],
        None if same is None else same.count(RIGHT) / len(same),
        row["bytes"],
        row["macs"],
        row["max_step_difference"],
        _hits(row.get("classes"), labels),
    )


def _hits(classes: str | None, wanted: str | None) -> str | None:
    """`.` where two rows of class numbers are equal, `x` where not; None where one is unknown."""
    if classes is None or wanted is None:
        return None
    return "".join(RIGHT if one == other else WRONG for one, other in zip(classes.split(), wanted.split()))
