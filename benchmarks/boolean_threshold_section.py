"""The part of docs/results.md about Boolean threshold networks: every task, and what became of each seed."""

from typing import Any


def section(recorded: dict[str, Any]) -> str:
    """A row a task, and below it the steps of each seed."""
    tasks = recorded["tasks"]
    lines = [
        "## Boolean threshold networks\n",
        "`python -m offramp.benchmarks.boolean_threshold [TASK ...]`: networks whose values are all ±1, found by",
        "projections (reflect-reflect-relax), a start for each seed. Exact: whole-number weights that give every bit",
        "of the table, whatever the gap; such networks are recorded, and a test evaluates each of them again. Of rule",
        "30, the rings of 6 and 8 cells are whole tables; 16 cells are 256 random states, measured on others, as the",
        "128 of a network of random majorities are. By gradients: networks of the same widths, straight through their",
        "signs, at the best of four rates.\n",
        "| task | widths | items | exact | median steps to exact | gap below its limit | -1, 0, 1 only | held-out bits "
        "| by gradients, exact | held-out bits | searched on |",
        "| " + "--- | " * 11,
    ]
    lines += [_row(name, task) for name, task in tasks.items()]
    lines += ["\nSteps until the rows were exact, seed by seed from 0 on (–: not within the steps of the run):\n"]
    lines += [f"- {name}: {', '.join(map(_steps, task['outcomes']))}" for name, task in tasks.items()]
    return "\n".join(line.rstrip(" ") for line in lines) + "\n"


def _row(name: str, task: dict[str, Any]) -> str:
    found = task["outcomes"]
    exact = sorted(each["exact_steps"] for each in found if each["exact_steps"] is not None)
    cells = [
        name,
        "-".join(map(str, task["widths"])),
        str(task["items"]),
        f"{len(exact)} of {len(found)}",
        f"{exact[len(exact) // 2]:,}" if exact else "–",
        f"{sum(each['solved'] for each in found)} of {len(found)}",
        str(sum(each["ternary"] for each in found)),
        _mean(found),
        *_gradients(task),
        task["machine"],
    ]
    return f"| {' | '.join(cells)} |"


def _gradients(task: dict[str, Any]) -> list[str]:
    if "gradients" not in task:
        return ["–", "–"]
    found = task["gradients"]["outcomes"]
    return [f"{sum(each['fitted'] for each in found)} of {len(found)}", _mean(found)]


def _mean(found: list[dict[str, Any]]) -> str:
    return f"{sum(each['test_bits'] for each in found) / len(found):.2%}"


def _steps(found: dict[str, Any]) -> str:
    return "–" if found["exact_steps"] is None else f"{found['exact_steps']:,}"
