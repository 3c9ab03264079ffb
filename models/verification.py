"""Verification: are two pictures of one person? Figures of the similarity of pairs, by threshold.

Huang et al., "Labeled Faces in the Wild", 2007: a threshold is chosen on nine folds of pairs and measured on the tenth,
and no person is in two folds.
"""

from dataclasses import dataclass

import numpy as np

MOST_SAMPLES = 1000  # half a million pairs
FOLDS = 10


@dataclass(frozen=True)
class Pairs:
    """P pairs of pictures.

    Attributes:
        similarities: (P,), larger for what looks more alike.
        same: (P,) bool, whether both show one person.
        folds: (P,) number of the fold of each pair; -1 where its persons belong to two folds.
    """

    similarities: np.ndarray
    same: np.ndarray
    folds: np.ndarray

    def chosen(self, which: np.ndarray) -> "Pairs":
        """Those pairs only, (P,) bool."""
        return Pairs(self.similarities[which], self.same[which], self.folds[which])

    @property
    def measurable(self) -> bool:
        """Whether there are pairs of both kinds."""
        return bool(self.same.any() and not self.same.all())


@dataclass(frozen=True)
class Roc:
    """Shares of pairs taken for the same at falling thresholds: `far` of different ones, `tar` of same ones."""

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray


def pairs_of(embeddings: np.ndarray, identities: np.ndarray) -> Pairs:
    """All pairs of samples (N, D) by their dot product; of more than `MOST_SAMPLES`, evenly spread ones.

    Persons are dealt out to ten folds, or to half as many as there are persons.

    Args:
        identities: (N,), equal for one person.
    """
    if len(embeddings) > MOST_SAMPLES:
        spread = np.linspace(0, len(embeddings) - 1, MOST_SAMPLES).round().astype(int)
        embeddings, identities = embeddings[spread], identities[spread]
    persons = np.unique(identities, return_inverse=True)[1].reshape(-1)
    fold_of = persons % max(1, min(FOLDS, (persons.max(initial=-1) + 1) // 2))
    first, second = np.triu_indices(len(embeddings), 1)
    return Pairs(
        (embeddings @ embeddings.T)[first, second],
        persons[first] == persons[second],
        np.where(fold_of[first] == fold_of[second], fold_of[first], -1),
    )


def roc(pairs: Pairs) -> Roc:
    """One point for each similarity that occurs, from (0, 0) to (1, 1); the pairs must be of both kinds."""
    from sklearn.metrics import roc_curve

    return Roc(*roc_curve(pairs.same, pairs.similarities, drop_intermediate=False))


def area(curve: Roc) -> float:
    """How likely a same pair is more alike than a different one; a tie counts half."""
    return float(np.trapezoid(curve.tar, curve.far))


def tar_at(curve: Roc, far: float) -> float:
    """The most same pairs accepted at a threshold that accepts at most `far` of the different ones."""
    return float(curve.tar[curve.far <= far].max())


def best_threshold(curve: Roc) -> float:
    """Where same and different pairs, in equal numbers, are told apart best."""
    return float(curve.thresholds[np.argmax(curve.tar - curve.far)])


def accuracy_at(pairs: Pairs, threshold: float) -> float:
    """Mean of the shares of same and of different pairs that are told right: LFW has as many of either."""
    accepted = pairs.similarities >= threshold
    return float((accepted[pairs.same].mean() + (~accepted[~pairs.same]).mean()) / 2)


def fold_accuracy(pairs: Pairs) -> float | None:
    """Mean accuracy over folds, each at the threshold that is best on the others; None without two measurable folds."""
    folds = [fold for fold in np.unique(pairs.folds) if fold >= 0]
    parts = [
        (pairs.chosen(pairs.folds == fold), pairs.chosen((pairs.folds != fold) & (pairs.folds >= 0))) for fold in folds
    ]
    kept = [(part, others) for part, others in parts if part.measurable and others.measurable]
    if not kept:
        return None
    return float(np.mean([accuracy_at(part, best_threshold(roc(others))) for part, others in kept]))


def figures(pairs: Pairs) -> dict[str, float]:
    """`auc`, `tar_at_far_1` (percent), `pair_accuracy` over folds; each only where pairs allow it."""
    if not pairs.measurable:
        return {}
    curve, accuracy = roc(pairs), fold_accuracy(pairs)
    found = {"auc": area(curve), "tar_at_far_1": tar_at(curve, 0.01)}
    return found if accuracy is None else found | {"pair_accuracy": accuracy}
