"""MACs of Core ML packages: against closed forms, and against the program that they were made from."""

import sys
from pathlib import Path

import numpy as np
import pytest
from offramp.errors import BadInput
from offramp.runtime.macs import count_coreml, count_file, count_onnx, count_program

sys.path.append(str(Path(__file__).parent))
from mil_programs import Case, save
from small_networks import coreml_package


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    return lambda system, precision: coreml_package(system, precision, folder)


CASES = [("care_xxs", "float32"), ("care_xxs", "int8"), ("resnet8", "float32"), ("resnet8", "int8")]


@pytest.mark.parametrize(("system", "precision"), CASES)
def test_a_package_counts_as_its_program(system, precision, packages):
    program, artifact = packages(system, precision)
    wanted, count = count_program(program), count_coreml(artifact.path, artifact.modules)
    assert (count.by_bits, count.uncounted) == (wanted.by_bits, ())
    assert (count.parameters, count.weight_bytes) == (wanted.parameters, wanted.weight_bytes)
    assert sorted(operation.macs for operation in count.operations) == sorted(o.macs for o in wanted.operations)
    assert count.by_module == wanted.by_module


def test_a_float16_package_counts_as_sixteen_bits_and_half_the_bytes(packages):
    program, artifact = packages("resnet8", "float16")
    wanted, count = count_program(program), count_coreml(artifact.path)
    assert count.by_bits == {16: wanted.total}
    assert (count.parameters, count.weight_bytes * 2) == (wanted.parameters, wanted.weight_bytes)


def count_of(build, inputs, tmp_path, target="iOS17"):
    """The count of one operator built by hand."""
    case = Case("it", tuple(inputs), build, None)
    return count_coreml(save([case], inputs, tmp_path / "it.mlpackage", target=target))


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_transposed_convolution_spreads_every_input(tmp_path):
    count = count_of(
        lambda mb, x: mb.conv_transpose(x=x, weight=np.ones((4, 3, 2, 5), np.float32), strides=[2, 2], groups=2),
        {"x": zeros(1, 4, 6, 7)},
        tmp_path,
    )
    assert count.total == 3 * 2 * 5 * 4 * 6 * 7
    assert (count.weight_bytes, count.parameters) == (4 * 4 * 3 * 2 * 5, 4 * 3 * 2 * 5)


@pytest.mark.parametrize("flip", ["", "x", "y", "xy"])
def test_matmul_counts_the_same_however_its_operands_lie(flip, tmp_path):
    left, right = zeros(2, 3, 5), zeros(2, 5, 7)
    inputs = {
        "x": left.swapaxes(1, 2).copy() if "x" in flip else left,
        "y": right.swapaxes(1, 2).copy() if "y" in flip else right,
    }
    count = count_of(
        lambda mb, x, y: mb.matmul(x=x, y=y, transpose_x="x" in flip, transpose_y="y" in flip), inputs, tmp_path
    )
    assert (count.total, count.by_bits) == (2 * 3 * 5 * 7, {32: 2 * 3 * 5 * 7})


def test_einsum_counts_every_letter_once(tmp_path):
    inputs = {"x": zeros(2, 3, 5, 4), "y": zeros(2, 4, 5, 7)}
    count = count_of(lambda mb, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"), inputs, tmp_path)
    assert (count.total, count.uncounted) == (2 * 3 * 5 * 4 * 7, ())


def test_attention_counts_both_products(tmp_path):
    inputs = {"q": zeros(1, 2, 5, 8), "k": zeros(1, 2, 7, 8), "v": zeros(1, 2, 7, 8)}
    count = count_of(
        lambda mb, q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v), inputs, tmp_path, "iOS18"
    )
    assert (count.total, count.by_bits) == (2 * 5 * 7 * (8 + 8), {32: 2 * 5 * 7 * (8 + 8)})


def test_a_recurrent_layer_multiplies_both_matrices_each_step(tmp_path):
    gates, inputs, hidden = 4, 3, 5
    count = count_of(
        lambda mb, x, h, c: mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            weight_ih=np.ones((gates * hidden, inputs), np.float32),
            weight_hh=np.ones((gates * hidden, hidden), np.float32),
        )[0],
        {"x": zeros(9, 1, inputs), "h": zeros(1, hidden), "c": zeros(1, hidden)},
        tmp_path,
    )
    assert count.total == 9 * gates * hidden * (inputs + hidden)
    assert count.weight_bytes == 4 * gates * hidden * (inputs + hidden)


def codes_of(mb, shape, dtype=np.int8):
    return mb.constexpr_affine_dequantize(
        quantized_data=np.ones(shape, dtype), zero_point=dtype(0), scale=np.float32(0.1), axis=0
    )


def through_codes(mb, x):
    codes = mb.quantize(input=x, scale=np.float32(0.1), zero_point=np.int8(0), output_dtype="int8")
    return mb.dequantize(input=codes, scale=np.float32(0.1), zero_point=np.int8(0))


OPERANDS = {
    "both codes": (lambda mb, x: through_codes(mb, x), lambda mb: codes_of(mb, (5, 6)), 8),
    "codes moved": (
        lambda mb, x: mb.reshape(x=mb.transpose(x=through_codes(mb, x), perm=[0, 1]), shape=[4, 6]),
        lambda mb: codes_of(mb, (5, 6)),
        8,
    ),
    "a float activation": (lambda mb, x: x, lambda mb: codes_of(mb, (5, 6)), 32),
    "an activation computed from codes": (
        lambda mb, x: mb.relu(x=through_codes(mb, x)),
        lambda mb: codes_of(mb, (5, 6)),
        32,
    ),
    "a float weight": (lambda mb, x: through_codes(mb, x), lambda mb: np.ones((5, 6), np.float32), 32),
    "codes and floats joined": (
        lambda mb, x: mb.slice_by_index(
            x=mb.concat(values=(through_codes(mb, x), x), axis=0), begin=[0, 0], end=[4, 6]
        ),
        lambda mb: codes_of(mb, (5, 6)),
        32,
    ),
}


@pytest.mark.parametrize("kind", OPERANDS)
def test_bits_are_those_of_the_wider_operand(kind, tmp_path):
    activation, weight, bits = OPERANDS[kind]
    count = count_of(lambda mb, x: mb.linear(x=activation(mb, x), weight=weight(mb)), {"x": zeros(4, 6)}, tmp_path)
    assert count.by_bits == {bits: 4 * 5 * 6}
    assert count.weight_bytes == 5 * 6 * (4 if kind == "a float weight" else 1)
    assert count.parameters == 5 * 6 + 5  # the builder adds a bias of zeros


def test_four_bit_weights_take_half_a_byte_each(tmp_path):
    from coremltools.converters.mil.mil import types

    def build(mb, x):
        four = types.np_int4_dtype
        codes = np.ones((5, 6)).astype(four)
        weight = mb.constexpr_blockwise_shift_scale(data=codes, scale=np.full((5, 1), 0.1, np.float32))
        return mb.linear(x=through_codes(mb, x), weight=weight)

    count = count_of(build, {"x": zeros(4, 6)}, tmp_path, "iOS18")
    assert (count.by_bits, count.weight_bytes, count.parameters) == ({8: 4 * 5 * 6}, 5 * 6 // 2, 5 * 6 + 5)


def test_norm_parameters_count_and_running_statistics_do_not(tmp_path):
    vector = np.ones(6, np.float32)
    count = count_of(
        lambda mb, x: mb.batch_norm(x=x, mean=vector, variance=vector * 2, gamma=vector * 3, beta=vector * 4),
        {"x": zeros(1, 6, 3, 3)},
        tmp_path,
    )
    assert (count.parameters, count.total, count.uncounted) == (6 + 6, 0, ())


def test_an_operator_without_a_rule_is_reported_not_zeroed(tmp_path):
    boxes, scores = zeros(1, 5, 4), zeros(1, 5, 2)
    count = count_of(
        lambda mb, b, s: mb.non_maximum_suppression(
            boxes=b, scores=s, iou_threshold=0.5, max_boxes=3, per_class_suppression=False
        )[0],
        {"b": boxes, "s": scores},
        tmp_path,
    )
    assert [entry.split(" ")[0] for entry in count.uncounted] == ["non_maximum_suppression"]
    assert str(count) == "at least 0 MACs"


def test_any_artifact_is_counted_by_its_suffix(packages, tmp_path):
    from offramp.export.onnx import to_onnx

    program, artifact = packages("resnet8", "float32")
    assert count_file(artifact.path, artifact.modules) == count_coreml(artifact.path, artifact.modules)
    other = to_onnx(
        program, tmp_path / "net.onnx", input_names=("image",), output_names=("logits",), precision="float32"
    )
    assert count_file(other.path) == count_onnx(other.path)
    with pytest.raises(BadInput, match=r"net\.pb: counted are .*\.onnx and \.tflite artifacts, not one \.pb"):
        count_file(tmp_path / "net.pb")
