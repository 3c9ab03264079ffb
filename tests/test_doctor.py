"""`doctor`: what is here is found with its version, what is missing comes with the one command that enables it."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from offramp.devices.boards import doctor
from offramp.runtime.tflite_compat import CompatibilityUnavailable

PACKAGES = {
    "onnx, executed": "onnxruntime",
    "tflite, written": "litert-torch",
    "tflite, executed": "ai-edge-litert",
    "coreml, written and evaluated": "coremltools",
    "training and quantization": "torch",
}


@pytest.fixture
def findings(monkeypatch):
    """Examines with some packages taken away."""

    def run(missing=(), older=None):
        def found(package):
            if package in missing:
                raise PackageNotFoundError(package)
            return version(package)

        def environment():
            if older is None:
                raise CompatibilityUnavailable("tflite-runtime 2.14.0: no network")
            return older

        monkeypatch.setattr(doctor, "version", found)
        monkeypatch.setattr(doctor, "ensure_environment", environment)
        return {finding["name"]: finding for finding in doctor.examine()["findings"]}

    return run


def test_what_is_here_is_found_with_its_version(findings):
    found = findings(older=Path("/cache/env-1/bin/python"))
    for name, package in PACKAGES.items():
        assert found[name] == {"name": name, "works": True, "detail": f"{package} {version(package)}", "mend": ""}
    assert found["TFLite in tflite-runtime 2.14"]["detail"] == "environment of its own, env-1"


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_what_is_missing_comes_with_its_command(findings, name, package):
    found = findings(missing=[package])
    assert found[name]["works"] is False
    assert found[name]["detail"] == f"{package} is not installed"
    assert found[name]["mend"] == f"pip install {package}"
    assert found["onnx, written"]["works"]


def test_an_older_runtime_that_cannot_be_had_says_why(findings):
    found = findings()["TFLite in tflite-runtime 2.14"]
    assert (found["works"], found["detail"]) == (False, "tflite-runtime 2.14.0: no network")


@pytest.mark.parametrize(("platform", "works"), [("darwin", True), ("linux", False)])
def test_core_ml_itself_runs_on_a_mac_only(findings, monkeypatch, platform, works):
    monkeypatch.setattr(doctor.sys, "platform", platform)
    assert findings()["Core ML, native"]["works"] is works


def test_a_package_that_is_there_and_cannot_be_imported_is_to_be_installed_again(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    finding = doctor._package("onnx, executed", "onnxruntime", "onnxruntime")()
    assert not finding.works
    assert finding.mend == "pip install --force-reinstall onnxruntime"


def test_the_browser_is_looked_for(findings, monkeypatch):
    name = "browser, for the tests of the report"
    monkeypatch.setattr(doctor.shutil, "which", lambda command: None)
    assert findings()[name]["mend"] == "apt-get install chromium"
    monkeypatch.setattr(doctor.shutil, "which", lambda command: "/usr/bin/chromium" if command == "chromium" else None)
    assert findings()[name]["detail"] == "/usr/bin/chromium"
