"""The gate's document as JUnit XML, which CI systems show: a test case for each figure of each artifact."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..storage import atomic_path
from .figures import artifact_name
from .wording import entry_text, fault_text


def write_junit(path: Path, document: dict[str, Any]) -> None:
    """Writes the file whole or not at all.

    Raises:
        BadInput: it cannot be written.
    """
    text = junit_of(document)
    with atomic_path(path) as beside:
        beside.write_bytes(text)


def junit_of(document: dict[str, Any]) -> bytes:
    """`<testsuites><testsuite><testcase classname="NAME.ARTIFACT" name="FIGURE">`, with a failure where one moved."""
    cases = [_verified(document, artifact_name(row)) for row in document["artifacts"]]
    cases += [_figure(document, entry) for entry in document["compared"]]
    failures = sum(case.find("failure") is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": _plain(f"offramp check {document['name']}")} | counts)
    suite.extend(cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _verified(document: dict[str, Any], artifact: str) -> ElementTree.Element:
    case = _case(document, artifact, "verified")
    for fault in document["faults"]:
        if fault["artifact"] == artifact:
            _fail(case, fault_text(fault))
    return case


def _figure(document: dict[str, Any], entry: dict[str, Any]) -> ElementTree.Element:
    case = _case(document, entry["artifact"], entry["figure"])
    said = entry_text(entry)
    if entry["holds"]:
        ElementTree.SubElement(case, "system-out").text = _plain(said)
    else:
        _fail(case, said)
    return case


def _case(document: dict[str, Any], artifact: str, figure: str) -> ElementTree.Element:
    names = {"classname": _plain(f"{document['name']}.{artifact}"), "name": figure, "time": "0"}
    return ElementTree.Element("testcase", names)


def _fail(case: ElementTree.Element, message: str) -> None:
    message = _plain(message)
    ElementTree.SubElement(case, "failure", {"message": message, "type": "moved"}).text = message


def _plain(text: str) -> str:
    """The text on one line and without what XML has no form for, such as control characters and lone surrogates."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
