"""The parts of docs/results.md about learning rules: what they ask of hardware, and what they come to elsewhere."""

from typing import Any

_BACK = {True: "yes", False: "no", None: "nothing runs backward"}


def section(recorded: dict[str, Any]) -> str:
    """A row for each rule on a network."""
    lines = [
        "## Learning rules in hardware\n",
        "`python -m offramp.benchmarks.learning_rules`: one update, measured. State: bits that stay between updates",
        "for each weight of the network, its own 32 among them, with what the recipe's optimizer keeps.",
        "Multiplications: for each sample of an update, in products of matrices and convolutions, and value by value",
        "(an optimizer's too, shared by the batch). Read backward: whether an operator of the backward pass reads a",
        "matrix of the network; target propagation reads the last one's, bidirectional learning all of them, as they",
        "are its generator's too. What is computed by hand counts as no backward pass: the nudge of equilibrium",
        "propagation reads the readout's matrix, and its homeostasis each matrix and its partner. A step of",
        "reflect-reflect-relax keeps two numbers for every weight and item of its table.\n",
        "| rule | network | weights | bits of state a weight | MACs in matrices | value by value "
        "| times a forward pass | forward weights read backward |",
        "| " + "--- | " * 8,
    ]
    lines += [_row(row) for row in recorded["rows"]]
    return "\n".join(line.rstrip(" ") for line in lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    forward = f"{row['matrix_macs'] / row['forward_macs']:.1f}" if row["forward_macs"] else "–"
    return (
        f"| {row['rule']} | `{row['system']}` | {row['weights']:,} | {row['state_bits']:,.0f} | "
        f"{row['matrix_macs']:,.0f} | {row['other_macs']:,.0f} | {forward} | {_BACK[row['reads_weights_back']]} |"
    )


def elsewhere(recorded: dict[str, Any]) -> str:
    """A row for each rule on a network that it was not made for."""
    samples = max(row.get("samples", 0) for row in recorded["rows"])
    lines = [
        f"## Learning rules on `{recorded['system']}`\n",
        f"`python -m offramp.benchmarks.rules_elsewhere` on {recorded['machine']}: `offramp train {recorded['system']} "
        "--rule NAME`",
        f"by the system's own recipe, one seed, then int8 in three targets on {samples} held-out samples. Settings are",
        "the rules' own; counter-current's for maps were chosen on a smaller residual network, on the same digits.\n",
        "| rule | epochs | accuracy float | int8 ONNX, Core ML, TFLite | verified | why not |",
        "| " + "--- | " * 6,
    ]
    lines += [_trained(row) if "float" in row else _refused(row) for row in recorded["rows"]]
    reasons = [
        f"{row['rule']}, {target}: {reason}"
        for row in recorded["rows"]
        for target, reason in row.get("not_verified_because", {}).items()
    ]
    if reasons:
        lines += ["", "Not verified:\n", *(f"- {reason}" for reason in reasons)]
    return "\n".join(line.rstrip(" ") for line in lines) + "\n"


def _trained(row: dict[str, Any]) -> str:
    accuracies = ", ".join(f"{row['int8'][target]:.1%}" for target in ("onnx", "coreml", "tflite"))
    verified = f"all but {', '.join(row['not_verified_because'])}" if row["not_verified_because"] else "yes"
    return f"| {row['rule']} | {row['epochs']} | {row['float']:.1%} | {accuracies} | {verified} | |"


def _refused(row: dict[str, Any]) -> str:
    return f"| {row['rule']} | – | – | – | – | {row['because']} |"
