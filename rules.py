"""Learning rules as a table, and which of them train a system."""

from dataclasses import MISSING, fields
from typing import Any

import torch

from .errors import BadInput
from .models.learning import LearningRule, Setup, all_rules
from .models.objectives import objective_of
from .options import Options
from .sources import Source, find_source, load_data


def rules_table(reference: str | None, options: Options) -> dict[str, Any]:
    """Every rule with its settings, and by an example those that must be given.

    For a system of the zoo also whether the rule trains it, or why not; of the rule that is its own, the settings are
    the system's.

    Raises:
        BadInput: the reference is no system of the zoo, or it has no data.
    """
    source = None if reference is None else find_source(reference, options.seed)
    rows = [_row(rule, source, options) for rule in all_rules().values()]
    return {"system": reference, "rules": rows}


def _row(kind: type[LearningRule], source: Source | None, options: Options) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(kind) if field.default is not MISSING}  # type: ignore[arg-type]
    because = None if source is None else _objection(kind, source, options)
    own = None if source is None or source.system is None else source.system.rule
    is_own = own is not None and own.name == kind.name
    if is_own:
        defaults = {name: getattr(own, name) for name in defaults}
    return {
        "name": kind.name,
        "trains": kind.trains,
        "source": kind.source,
        "settings": {**kind.required, **defaults},
        "own": None if source is None else is_own,
        "admitted": None if source is None else because is None,
        "because": because,
    }


def _objection(kind: type[LearningRule], source: Source, options: Options) -> str | None:
    """What the rule says against a system; None where it trains it."""
    if source.system is None:
        raise BadInput(f"{source.origin}: rules train a system of the zoo; see `offramp list`")
    system, data = source.system, load_data(source, options.data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        module = system.build().train()
    try:
        rule = kind.from_settings(kind.required)
        rule.learner(
            Setup(
                system.name,
                system.task,
                module,
                system.objective or objective_of(system.task),
                data,
                system.recipe,
                options.seed,
            )
        )
    except BadInput as error:
        return str(error).removeprefix(f"--rule {kind.name}: ")
    return None
