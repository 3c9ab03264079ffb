"""What the documents promise: commands that exist, links that lead somewhere, nothing of one machine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A folder of one machine as the head of a path; `/data/local/tmp/` is a place on every Android device.
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:" + "|".join(("work", "tmp", "root")) + r")/\w")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def tracked() -> list[Path]:
    """The files that git tracks, or a skip where this is no git checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout to tell the project's files from what was made beside them")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    """The text of a file, empty for one that is not text."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return ""


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):(?!=)", text_of(ROOT / "Makefile"), flags=re.MULTILINE))


def test_readme_gives_the_two_commands():
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z-]+)", text_of(ROOT / "README.md")))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_of_a_document_exists(document):
    named = set(re.findall(r"(?:^|`)\s*make ([a-z-]+)", text_of(ROOT / document), flags=re.MULTILINE))
    assert named
    assert named <= make_targets()


def test_every_make_command_says_what_it_does():
    described = set(re.findall(r"^([a-z-]+):.*## \w", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    assert described == make_targets()


def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert text_of(script).rstrip().endswith("\nmake test")


def test_changelog_has_a_section_for_what_is_not_released():
    assert re.search(r"^## \[Unreleased\]$", text_of(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)


def test_no_file_names_a_folder_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


def test_a_machine_path_is_told_from_a_device_path():
    assert MACHINE_PATH.search("see " + "/".join(("", "tmp", "model.onnx")))
    assert not MACHINE_PATH.search("adb push model.onnx " + "/".join(("", "data", "local", "tmp", "model.onnx")))


def test_relative_links_lead_somewhere():
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for target in LINK.findall(text_of(path)):
            file = target.partition("#")[0]
            if file and "://" not in target and not target.startswith("mailto:") and not (path.parent / file).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)
