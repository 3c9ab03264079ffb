"""What the report shows of a network of spins: cues, and the states that an artifact relaxes them to."""

import numpy as np

from .picture import Picture, RunArtifact, png_of

SHOWN = 6
SIDE = 96  # pixels of a drawn pattern, about
UP, DOWN, BLANK = (0.93, 0.93, 0.90), (0.16, 0.20, 0.26), (0.55, 0.57, 0.60)
WRONG = (0.86, 0.32, 0.14)


def illustrate(run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray) -> tuple[Picture, ...]:
    """Archetypes, cues and recalled states, entry by entry; what is wrong on the archetype is orange."""
    chosen = np.unique(np.linspace(0, len(targets) - 1, SHOWN).round().astype(int))
    cues, archetypes = inputs["spins"][chosen], targets[chosen, 1:]
    found = [run({"spins": cue[None]}) for cue in cues]
    states = np.concatenate([outputs["recalled"] for outputs in found])
    states = np.where(states < 0, -1, 1)
    before, after = (((signs == archetypes).sum(1) / (archetypes != 0).sum(1)) for signs in (cues, states))
    everything = _distinct(targets)
    rows = [
        [_tile(pattern, np.zeros_like(pattern)) for pattern in archetypes],
        [_tile(cue, archetype) for cue, archetype in zip(cues, archetypes)],
        [_tile(state, archetype) for state, archetype in zip(states, archetypes)],
    ]
    ranked = np.sort(np.abs(states @ everything.T) / (everything != 0).sum(1), 1)[:, ::-1]
    return (
        Picture(
            "Recall",
            "Archetypes (light +1, dark -1, grey blank), noisy cues, and the states that the artifact relaxes them to; "
            f"wrong entries are orange. Entries right before: {_listed(before)}; after: {_listed(after)}. Overlaps of "
            f"the states with all {len(everything)} archetypes, each of its own entries, from the largest on: "
            f"{'; '.join(map(_listed, ranked))}.",
            png_of(np.concatenate([np.concatenate(row, 1) for row in rows])),
        ),
    )


def _distinct(targets: np.ndarray) -> np.ndarray:
    """The archetypes of all labels, (K, N)."""
    _, first = np.unique(targets[:, 0], return_index=True)
    return targets[first, 1:]


def _tile(signs: np.ndarray, archetype: np.ndarray) -> np.ndarray:
    """A pattern (N,) as a square in colour with an edge; the last row is filled up with white."""
    colours = np.where((signs > 0)[:, None], UP, np.where((signs < 0)[:, None], DOWN, BLANK))
    colours = np.where(((archetype != 0) & (signs != archetype))[:, None], WRONG, colours)
    width = int(np.ceil(np.sqrt(len(signs))))
    height = -(-len(signs) // width)
    filled = np.ones((height * width, 3))
    filled[: len(signs)] = colours
    scale = max(1, SIDE // width)
    tile = filled.reshape(height, width, 3).repeat(scale, 0).repeat(scale, 1)
    return np.pad(tile, ((0, 6), (0, 6), (0, 0)), constant_values=1.0)


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
