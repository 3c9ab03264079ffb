"""C through the command line: deployed, verified again, profiled here and on an emulated board, and what is refused."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from offramp.c_compiler import runnable_kernels
from offramp.manifest import check_document
from offramp.onboard import fault_of, holds

sys.path.append(str(Path(__file__).parent))
from command_line import document_of, error_of, offramp, progress_of
from needs import need_board
from tiny_networks import convnet

QUICK = ("--no-older-runtime", "--samples", "6", "--calibration-samples", "8")
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="not run: no C compiler (apt-get install gcc)")


@pytest.fixture(scope="module")
def network(site):
    return convnet(site, "c_net")


@pytest.fixture(scope="module")
def deployed(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("c") / "dist"
    document = document_of("deploy", network, "--target", "c", "--no-measure", "--out", out, *QUICK)
    return out / "c_net", document


def test_a_dist_holds_source_and_header_and_its_manifest_says_so(deployed) -> None:
    folder, document = deployed
    check_document(document, "c_net")
    assert {"c_net.c", "c_net.h", "c_net-float32.c", "c_net-float32.h"} <= {path.name for path in folder.iterdir()}
    assert {"c_net.c", "c_net.h"} <= set(document["files"])
    floating, quantized = document["artifacts"]
    assert floating["verified"]
    assert floating["exact_samples"] is None
    assert quantized["verified"]
    assert quantized["exact_samples"] == document["data"]["samples"]
    assert quantized["integer_mac_share"] == 1.0
    assert int(quantized["details"]["arena_bytes"]) > 0


def test_verify_and_profile_take_it_again(deployed) -> None:
    folder, document = deployed
    again = document_of("verify", folder, "--no-older-runtime")
    assert [row["exact_samples"] for row in again["artifacts"]] == [None, document["data"]["samples"]]
    timed = document_of("profile", folder, "--runs", 2, "--seconds", 0)
    assert all(row["latency_ms"]["p50"] > 0 for row in timed["artifacts"])
    assert all(row["load_ms"] is None for row in timed["artifacts"])
    alone = document_of("profile", folder / "c_net.c", "--runs", 2, "--seconds", 0)
    assert alone["artifacts"][0]["macs"] == document["artifacts"][1]["macs"]


@pytest.mark.skipif("avx2" not in runnable_kernels(), reason="not run: this processor lacks avx2")
def test_a_file_by_itself_is_held_against_its_portable_kernels(deployed, tmp_path) -> None:
    path = tmp_path / "c_net.c"
    path.with_suffix(".h").write_text((deployed[0] / "c_net.h").read_text())
    text = (deployed[0] / "c_net.c").read_text().rstrip()
    path.write_text(text + "\n")
    assert document_of("verify", path)["artifacts"][0]["verified"]
    (output,) = deployed[1]["outputs"]
    wrong = f"#ifdef __AVX2__\n    {output['name']}[0] += 100;\n#endif\n}}\n"
    path.write_text(text.removesuffix("}") + wrong)
    (row,) = document_of("verify", path, code=1)["artifacts"]
    assert row["not_verified_because"].startswith("agrees with its plain engine on ")


def test_without_a_compiler_the_rest_is_deployed_and_timed(network, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CC", raising=False)
    arguments = ("--target", "c", "--target", "onnx", "--precision", "int8", "--out", tmp_path, *QUICK)
    rows = {row["target"]: row for row in document_of("deploy", network, *arguments, code=1)["artifacts"]}
    assert rows["onnx"]["verified"] and rows["onnx"]["latency_ms"]["p50"] > 0
    assert not rows["c"]["verified"] and rows["c"]["latency_ms"] is None
    again = document_of("profile", tmp_path / "c_net", "--runs", 2, "--seconds", 0)
    assert {row["target"]: row["latency_ms"] is None for row in again["artifacts"]} == {"c": True, "onnx": False}


def test_the_table_says_how_many_samples_are_equal(deployed) -> None:
    text = offramp("verify", deployed[0], "--no-older-runtime")
    assert "samples equal to the whole-number arithmetic, bit for bit: c_net.c 6 of 6" in text


@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m55", "aarch64"])
def test_a_board_gives_the_same_bits(deployed, board) -> None:
    need_board(board)
    found = document_of("profile", deployed[0], "--on", board, "--samples", 3)
    assert found["samples"] == 3
    floating, quantized = found["networks"]
    assert quantized["equal_samples"] == quantized["exact_samples"] == 3
    assert floating["exact_samples"] is None
    assert floating["fault"] == quantized["fault"] == ""
    for entry in found["networks"]:
        assert entry["instructions"] == sum(entry["by_function"].values())
        assert entry["flash_bytes"] > 0
        assert entry["ram_bytes"] > 0
    text = offramp("profile", deployed[0], "--on", board, "--samples", 1)
    assert f"c_net on {board}, 1 samples" in text
    assert "run_conv_int8" in text


def test_real_numbers_far_from_the_hosts_are_a_fault() -> None:
    here = {"y": np.linspace(-2, 2, 40, dtype=np.float32).reshape(10, 4)}
    near, far = {"y": here["y"] + np.float32(1e-4)}, {"y": here["y"] + np.float32(1e-2)}
    assert fault_of(near, here, is_quantized=False) == ""
    assert fault_of(far, here, is_quantized=False) == "y differs from the host's by 0.01 where it reaches 2"
    assert fault_of(far, here, is_quantized=True) == ""
    assert fault_of({"y": -here["y"]}, here, is_quantized=True) == "y is near the host's on 0.0% of the samples"
    assert fault_of({"y": here["y"] * np.float32("nan")}, here, is_quantized=False) == "y is NaN or infinite"
    assert holds({"networks": [{"fault": ""}]})
    assert not holds({"networks": [{"fault": ""}, {"fault": "y is NaN or infinite"}]})


def test_what_a_board_cannot_take_is_refused(deployed, tmp_path) -> None:
    folder = deployed[0]
    assert "no such emulated board; choose one of aarch64" in error_of("profile", folder, "--on", "cortex-m9")
    assert "--on takes a dist" in error_of("profile", folder / "c_net.c", "--on", "cortex-m4")
    assert "--samples: belongs to --on BOARD" in error_of("profile", folder, "--samples", 3)


def test_a_dist_without_c_is_refused(network, tmp_path) -> None:
    offramp("deploy", network, "--target", "onnx", "--precision", "int8", "--no-measure", "--out", tmp_path, *QUICK)
    message = error_of("profile", tmp_path / "c_net", "--on", "cortex-m4")
    assert message.endswith("holds no C network; deploy again with --target c")


def test_limits_are_held_and_nothing_is_written(network, tmp_path) -> None:
    for option, wording in (("--ram", "bytes of memory while it is computed"), ("--flash", "the constants take")):
        message = error_of(
            "export", network, "--target", "c", "--precision", "int8", option, 10, "--out", tmp_path, "--samples", 2
        )
        assert wording in message
        assert f"{option} 10" in message
    assert not any(tmp_path.iterdir())


def test_half_precision_is_left_out_or_refused(network, tmp_path) -> None:
    arguments = ("--precision", "float16", "--out", tmp_path, "--samples", 2)
    assert "float16: c has no such form; choose float32 or a quantized precision" in error_of(
        "export", network, "--target", "c", *arguments
    )
    progress = progress_of("export", network, "--target", "c", "--target", "onnx", *arguments)
    assert "leaving out c float16" in progress
    assert [path.suffix for path in (tmp_path / "c_net").glob("c_net*")] == [".onnx"]


def test_an_integer_border_is_verified(network, tmp_path) -> None:
    document = document_of(
        "deploy",
        network,
        "--target",
        "c",
        "--precision",
        "int8",
        "--integer-io",
        "--no-measure",
        "--out",
        tmp_path,
        *QUICK,
    )
    (row,) = document["artifacts"]
    assert row["verified"]
    assert row["exact_samples"] == 6
    assert "const int8_t *" in (tmp_path / "c_net" / "c_net.h").read_text()
