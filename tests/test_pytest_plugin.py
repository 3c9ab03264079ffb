"""The gate as a fixture of a user's own tests: options, folders, and the table in a failed test."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PLUGIN = "offramp.pytest_plugin"
INSTALLED = any(found.value == PLUGIN for found in entry_points(group="pytest11"))


@pytest.fixture
def run(pytester):
    """Runs pytest with the plugin in a user's project."""
    plugin = () if INSTALLED else ("-p", PLUGIN)
    return lambda *options: pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *options)


@pytest.fixture
def project(run, pytester, care_dist):
    """The same, in a project whose one test holds a dist to its baseline."""
    pytester.makepyfile(
        f"""
        def test_the_network(offramp_check):
            document = offramp_check({str(care_dist)!r}, recorded=True)
            assert document["name"] == "care_xxs"
        """
    )
    return run


def spoiled(path: Path) -> None:
    """A baseline whose files were half as large."""
    document = json.loads(path.read_text())
    document["artifacts"]["onnx int8"]["bytes"] //= 2
    path.write_text(json.dumps(document))


def test_a_baseline_is_written_held_and_failed_with_the_table(project, pytester):
    project().stdout.fnmatch_lines(
        ["*AssertionError: no baseline at *tests/baselines/care_xxs.json; write it with pytest *"]
    )
    project("--offramp-update").assert_outcomes(passed=1)
    kept = pytester.path / "tests/baselines/care_xxs.json"
    assert json.loads(kept.read_text())["name"] == "care_xxs"
    project().assert_outcomes(passed=1)
    spoiled(kept)
    result = project()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: care_xxs does not hold*", "*accuracy of *before *now *change*"])
    result.stdout.re_match_lines([r".*onnx int8 +bytes +[\d,]+ +[\d,]+ +\+[\d,]+ +.*moved"])
    assert "pytest_plugin.py" not in result.stdout.str()  # the user's line is shown, not ours


def test_the_folder_is_the_ini_files_or_the_command_lines(project, pytester):
    pytester.makeini("[pytest]\nofframp_baselines = kept/here\n")
    project("--offramp-update").assert_outcomes(passed=1)
    assert (pytester.path / "kept/here/care_xxs.json").is_file()
    project("--offramp-update", "--offramp-baselines", "there").assert_outcomes(passed=1)
    assert (pytester.path / "there/care_xxs.json").is_file()
    assert not (pytester.path / "tests").exists()


def test_a_baseline_may_have_a_name_of_its_own(project, pytester, care_dist):
    pytester.makepyfile(f"def test_it(offramp_check): offramp_check({str(care_dist)!r}, 'nightly', recorded=True)")
    project("--offramp-update").assert_outcomes(passed=1)
    assert (pytester.path / "tests/baselines/nightly.json").is_file()


def test_a_dist_that_is_none_is_one_line(run, pytester):
    pytester.makepyfile("def test_it(offramp_check): offramp_check('nowhere', recorded=True)")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*BadInput: nowhere: holds no manifest.json*"])


def test_the_options_are_in_the_help(run):
    result = run("--help")
    result.stdout.fnmatch_lines(["*--offramp-baselines=DIR*", "*--offramp-update*"])
    assert "offramp_baselines" in result.stdout.str()


def test_pytest_starts_without_torch(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import conftest, offramp.pytest_plugin\n"
        "print(*sorted({'torch', 'numpy', 'onnxruntime', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
