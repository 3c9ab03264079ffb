"""The host as a board: its description, and measurements that survive a manifest."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from offramp.devices.boards.host import describe_host, measure_on_host, parse_cpuinfo
from offramp.errors import BadInput
from offramp.runtime.measurement import Measurement
from onnx import TensorProto, helper, numpy_helper

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.60GHz\nflags\t\t: fpu sse4_2 avx512_vnni avx2 vmx\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd crc32 asimddp i8mm\nCPU part\t: 0xd40\n"


def linear(path, size, repeats=1):
    """A chain of (size, size) products, saved to `path`."""
    names = ["x", *(f"y{i}" for i in range(repeats))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, ["batch", size])],
        [numpy_helper.from_array(np.eye(size, dtype=np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("text", "cpu", "isa"),
    [
        (X86, "Some CPU @ 2.60GHz", ("sse4_2", "avx2", "avx512_vnni")),
        (ARM, "", ("asimd", "asimddp", "i8mm")),
        ("", "", ()),
    ],
    ids=["x86", "arm", "none"],
)
def test_cpuinfo_gives_the_name_and_the_sets_that_matter(text, cpu, isa):
    assert parse_cpuinfo(text) == (cpu, isa)


def test_this_host_is_described():
    host = describe_host()
    assert host.name == "host"
    assert host.cpu
    assert host.cores >= 1
    assert host.engines["onnxruntime"] == __import__("onnxruntime").__version__
    assert f"{host.cores} cores" in str(host)


def test_a_longer_network_takes_longer_and_the_row_says_how(tmp_path):
    paths = {"short": linear(tmp_path / "short.onnx", 64), "long": linear(tmp_path / "long.onnx", 256, 40)}
    found = measure_on_host(paths, runs=20, seconds=0.05)
    (short, _), (long, load) = found["short"], found["long"]
    assert long.spread["min"] > 2 * short.spread["min"]
    assert (long.what, long.where, long.unit) == ("latency", "host", "ms")
    assert long.how.startswith("onnxruntime ")
    assert "1 thread, " in long.how
    assert long.spread["min"] <= long.value <= long.spread["p90"] <= long.spread["p99"]
    assert long.spread["count"] >= 20
    assert (load.what, load.value > 0) == ("load time", True)


def test_given_inputs_are_the_ones_that_run(tmp_path):
    with pytest.raises(BadInput, match=r"input x must have shape \?x8, got 1x9"):
        measure_on_host({"net": linear(tmp_path / "net.onnx", 8)}, inputs={"x": np.zeros((1, 9), np.float32)})


def test_core_ml_has_no_speed_here(tmp_path):
    with pytest.raises(BadInput, match=r"net\.mlpackage: Core ML has no latency on this board"):
        measure_on_host({"net": tmp_path / "net.mlpackage"})


def test_a_measurement_survives_json():
    row = Measurement("latency", "host", "engine, 1 thread", 1.25, "ms", {"p90": 1.5, "load_before": None})
    assert Measurement.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_row_with_wrong_fields_is_refused():
    row = Measurement("latency", "host", "engine", 1.0, "ms").to_json()
    del row["unit"]
    with pytest.raises(BadInput, match=r"missing \['unit'\], unknown \['units'\]"):
        Measurement.from_json({**row, "units": "ms"})
    with pytest.raises(BadInput, match="value must be finite, got inf"):
        Measurement.from_json({**row, "unit": "ms", "value": math.inf})


def test_a_figure_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="latency on host: p90 must be finite, got nan"):
        Measurement("latency", "host", "engine", 1.0, "ms", {"p90": math.nan})


@pytest.mark.parametrize(
    ("isa", "named"),
    [
        (("avx", "avx2"), "EPYC (AVX2)"),
        (("avx2", "avx512f", "avx512bw"), "EPYC (AVX-512)"),
        (("avx2", "avx512bw", "avx512_vnni"), "EPYC (AVX-512 VNNI)"),
        ((), "EPYC"),
    ],
)
def test_processors_of_one_name_are_told_apart_by_their_products(isa, named):
    host = replace(describe_host(), cpu="EPYC", isa=isa)
    assert host.processor == named and str(host).startswith(f"{named}, ")
