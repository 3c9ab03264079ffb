"""What people see in the terminal of a netlist: its size, what was proved of it, its files and its speed."""

from typing import Any

from .runtime.report.wording import bytes_text, count_text
from .terminal import console, literally, table


@literally
def show_netlist(document: dict[str, Any]) -> None:
    """Sizes before and after, each proof with how it was come by, each file, evaluations a second."""
    ports = f"{len(document['inputs'])} inputs, {len(document['outputs'])} outputs"
    console.print(f"[bold]{document['name']}[/]: {ports}", soft_wrap=True)
    if document["neurons"] is not None:
        console.print(
            f"{document['neurons']:,} neurons, {document['nonzero_weights']:,} weights that are not 0 of "
            f"{document['dense_macs']:,}"
        )
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in document["gates_by_kind"].items())
    console.print(f"{document['gates']:,} gates of depth {document['depth']}" + (f": {kinds}" if kinds else ""))
    shown = table("what is equal", "how", "")
    for proof in document["proofs"]:
        shown.add_row(proof["what"], _method(proof), _verdict(proof))
    console.print(shown)
    for proof in document["proofs"]:
        if proof["counterexample"] is not None:
            signs = "".join("+" if value > 0 else "-" for value in proof["counterexample"])
            console.print(f"{proof['what']} differ for {signs}", soft_wrap=True)
    shown = table("file", "form", "size", "verified")
    for row in document["files"]:
        shown.add_row(row["path"], row["form"], bytes_text(row["bytes"]), "yes" if row["verified"] else "no")
    console.print(shown)
    for row in document["files"]:
        if not row["verified"]:
            console.print(f"[red]{row['path']}[/]: {row['not_verified_because']}", soft_wrap=True)
    if speed := document["evaluations_per_second"]:
        noisy = ", noisy" if speed["noisy"] else ""
        console.print(
            f"{count_text(speed['packed'])} evaluations a second, {count_text(speed['bytes'])} with packing from bytes "
            f"and back ({speed['engine']}, one thread{noisy})",
            soft_wrap=True,
        )
    console.print(f"in {document['folder']}", soft_wrap=True)


def _method(proof: dict[str, Any]) -> str:
    if proof["method"] == "all inputs":
        return f"all 2^{proof['inputs']} inputs"
    if proof["method"] == "SAT":
        return "SAT" if proof["conflicts"] is None else f"SAT, {proof['conflicts']:,} conflicts"
    return f"{proof['tried']:,} {proof['method']}"


def _verdict(proof: dict[str, Any]) -> str:
    if proof["equal"] is None:
        return "[red]not decided[/]"
    if not proof["equal"]:
        return "[red]not equal[/]"
    return "[green]proved[/]" if proof["proved"] else "no difference"
