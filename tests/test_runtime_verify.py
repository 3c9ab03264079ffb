"""Verification against faults put into artifacts on purpose: each is seen, and named by its PyTorch module."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from offramp.benchmarks.faults import change_activation, change_constant
from offramp.export.artifact import SUFFIX, Artifact
from offramp.manifest import read_manifest
from offramp.quant.program import load_exported, load_program
from offramp.runtime.reference import run_reference
from offramp.runtime.samples import Samples
from offramp.runtime.verify import accuracy_of, agreement_of, is_class_scores, is_enough, verify_artifact
from offramp.sources import find_samples, find_source

sys.path.append(str(Path(__file__).parent))

TARGETS = tuple(target for target in SUFFIX if target != "c")  # faults in C: test_runtime_c.py
LAYER, BUFFER = "stages.1.0.features.fc1", "stages_1_0_features_fc1"
INPUTS, OUTPUTS = ("image",), ("logits",)


@pytest.fixture(scope="module")
def samples(care_run) -> Samples:
    return find_samples(find_source(str(care_run)), None, 2, 12).held_out


@pytest.fixture(scope="module")
def quantized(care_dist):
    return load_program(care_dist / "program")


@pytest.fixture(scope="module")
def references(care_dist, quantized, samples):
    floating = load_exported(care_dist / "program" / "float.pt2")
    return {
        "int8": run_reference(quantized.program, INPUTS, OUTPUTS, samples),
        "float32": run_reference(floating, INPUTS, OUTPUTS, samples),
    }


@pytest.fixture
def verify(care_dist, references, quantized, samples, tmp_path):
    """A copy of one artifact is damaged by a function and verified."""

    def run(target, precision, damage=lambda path: None):
        row = next(
            row
            for row in read_manifest(care_dist, check_hashes=False)["artifacts"]
            if (row["target"], row["precision"]) == (target, precision)
        )
        path = tmp_path / row["path"]
        copy = shutil.copytree if target == "coreml" else shutil.copy
        copy(care_dist / row["path"], path)
        damage(path)
        artifact = Artifact(target, precision, path, (), ())
        program = quantized if precision == "int8" else None
        return verify_artifact(artifact, references[precision], samples, program, older_runtime=False)

    return run


def layer_value(program, module: str, operator: str) -> str:
    """Name of the value that a module's operator computes."""
    nodes = [n for n in program.graph.nodes if n.op == "call_function" and operator in str(n.target)]
    (name,) = (n.name for n in nodes if list(n.meta["nn_module_stack"].values())[-1][0] == module)
    return name


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_clean_artifact_gives_no_alarm(verify, target, precision):
    verdict = verify(target, precision)
    assert verdict.verified, verdict.reasons
    assert verdict.reasons == ()
    assert verdict.first_difference is None


@pytest.mark.parametrize("factor", [1.02, 1.5])
@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_weight_scale_of_one_channel_is_located(verify, target, factor):
    verdict = verify(target, "int8", lambda path: change_constant(path, f"{BUFFER}_weight", factor))
    assert not verdict.verified
    assert verdict.first_difference.module == LAYER
    assert verdict.constants.differing == (f"{BUFFER}_weight",)
    assert f"1 constants differ from the program ({BUFFER}_weight)" in verdict.reasons[0]


@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_activation_scale_is_located(verify, target, quantized):
    value = layer_value(quantized.program, LAYER, "conv2d")
    verdict = verify(target, "int8", lambda path: change_activation(path, value, 1.3))
    assert not verdict.verified
    assert (verdict.first_difference.module, verdict.first_difference.value) == (LAYER, value)
    assert verdict.first_difference.difference_steps > 5
    assert value in verdict.constants.differing


@pytest.mark.parametrize("factor", [1.05, -3])
@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_bias_is_located(verify, target, factor):
    name = f"b_{BUFFER}_bias" if target == "coreml" else f"{BUFFER}_bias"
    verdict = verify(target, "int8", lambda path: change_constant(path, name, factor, "values"))
    assert not verdict.verified
    assert verdict.first_difference.module == LAYER
    assert verdict.constants.differing == (f"{BUFFER}_bias",)


@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_float_weight_is_located(verify, care_dist, target):
    layer = "stages.1.0.features.fc2"
    value = layer_value(load_exported(care_dist / "program" / "float.pt2"), layer, "conv2d")
    names = {"onnx": f"{layer}.weight", "coreml": "p_stages_1_0_features_fc2_weight", "tflite": value}
    what = "weight" if target == "tflite" else "values"
    verdict = verify(target, "float32", lambda path: change_constant(path, names[target], 1.5, what))
    assert not verdict.verified
    assert verdict.constants is None
    assert (verdict.first_difference.module, verdict.first_difference.value) == (layer, value)


def test_the_first_of_two_faults_is_named(verify):
    def damage(path):
        change_constant(path, "stages_2_1_memory_fc1_weight", 4.0)
        change_constant(path, f"{BUFFER}_weight", 1.02)

    assert verify("onnx", "int8", damage).first_difference.module == LAYER


@pytest.mark.parametrize(
    ("differing", "count", "enough"),
    [(0, 1, True), (1, 20, True), (2, 20, False), (2, 399, False), (2, 400, True), (3, 400, False), (20, 20, False)],
)
def test_one_sample_or_half_a_percent_may_differ(differing, count, enough):
    assert is_enough(1 - differing / count, count) is enough


def test_accuracy_counts_the_largest_score():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]], np.float32)
    assert accuracy_of(scores, np.array([1, 0, 0])) == 1.0  # a tie goes to the first
    assert accuracy_of(scores, np.array([1, 1, 1])) == pytest.approx(1 / 3)
    assert accuracy_of(scores, None) is None


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2), (4, 3, 5, 5)])
def test_outputs_that_are_no_class_scores_have_no_accuracy(shape):
    outputs = np.zeros(shape, np.float32)
    assert not is_class_scores(outputs)
    assert accuracy_of(outputs, np.zeros(4, np.int64)) is None


def test_class_scores_agree_by_their_top_class():
    reference = np.array([[0.0, 1.0, 0.0], [5.0, 4.9, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 3.0]], np.float32)
    outputs = np.array([[9.0, 9.1, 0.0], [4.9, 5.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.1]], np.float32)
    assert agreement_of(outputs, reference) == 0.75
    assert agreement_of(reference, reference) == 1.0
    assert agreement_of(outputs, reference, by_value=True) == 0.25  # only the second is within 20 dB


def test_other_outputs_agree_when_the_error_is_20_db_below_the_signal():
    reference = np.array([[10.0], [10.0], [0.0], [-10.0]], np.float32)
    errors = np.array([[0.99], [1.01], [0.0], [-0.5]], np.float32)  # a tenth of the signal is 20 dB below it
    assert agreement_of(reference + errors, reference) == 0.75


def test_a_number_near_zero_agrees_within_a_step_of_its_codes():
    reference = np.array([[0.5], [0.02], [-0.01], [0.0]])
    errors = np.array([[0.01], [0.01], [0.01], [0.02]])
    assert agreement_of(reference + errors, reference) == 0.25
    assert agreement_of(reference + errors, reference, step=0.01) == 0.75
