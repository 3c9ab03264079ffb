"""`CoremlSession` on a small package: names, shapes, images, classifiers, damaged packages, integers read back."""

import shutil

import numpy as np
import pytest
import torch
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.coreml import to_coreml
from offramp.export.quiet import quiet
from offramp.runtime.coreml_session import EVALUATOR, CoremlSession, read_weights
from offramp.runtime.mil import coverage
from torch import nn

LABELS = ("ant", "bee", "cat", "dog")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.classify = nn.Linear(8, 4)

    def forward(self, x):
        return self.classify(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def package(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "net.mlpackage"
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    to_coreml(program, path, input_names=["image"], output_names=["scores"], precision="float32")
    return path


@pytest.fixture(scope="module")
def classifier(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "net.mlpackage"
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    to_coreml(
        program,
        path,
        input_names=["photo"],
        output_names=["scores"],
        precision="float32",
        labels=LABELS,
        image_input=True,
    )
    return path


def test_runs_as_the_network(net, package):
    session = CoremlSession(package, native=False)
    assert (session.target, session.engine) == ("coreml", EVALUATOR)
    assert [(s.name, s.shape, s.dtype) for s in session.inputs] == [("image", (1, 3, 8, 8), "float32")]
    assert [(s.name, s.shape, s.dtype) for s in session.outputs] == [("scores", (1, 4), "float32")]
    x = torch.randn(1, 3, 8, 8)
    values = session.run({"image": x.numpy()})
    np.testing.assert_allclose(values["scores"], net(x).detach().numpy(), atol=1e-6)


def test_intermediates_hold_every_layer(net, package):
    x = torch.randn(1, 3, 8, 8)
    found = CoremlSession(package, native=False).intermediates({"image": x.numpy()})
    np.testing.assert_allclose(found["conv2d"], net.conv(x).detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(found["scores"], net(x).detach().numpy(), atol=1e-6)


def test_classifier_gives_label_and_scores_in_the_order_of_the_labels(net, classifier):
    session = CoremlSession(classifier, native=False)
    pixels = np.random.default_rng(0).integers(0, 256, size=(1, 3, 8, 8)).astype(np.float32)
    values = session.run({"photo": pixels})
    logits = net(torch.from_numpy(pixels)).detach()
    np.testing.assert_allclose(values["scores"], logits.numpy(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(values["classLabel_probs"], logits.softmax(-1).numpy(), atol=1e-5)
    assert values["classLabel"].tolist() == [LABELS[int(logits.argmax())]]
    assert [s.shape for s in session.outputs] == [(1,), (1, 4), (1, 4)]


def test_scale_and_bias_of_an_image_type_are_applied(net, tmp_path):
    with quiet():
        import coremltools as ct

        program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),)).run_decompositions({})
        image = ct.ImageType(
            name="photo", shape=(1, 3, 8, 8), scale=1 / 127.5, bias=[-1, -0.5, 0], color_layout=ct.colorlayout.BGR
        )
        model = ct.convert(
            program,
            inputs=[image],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        model.save(str(tmp_path / "net.mlpackage"))
    session = CoremlSession(tmp_path / "net.mlpackage", native=False)
    pixels = np.random.default_rng(0).integers(0, 256, size=(1, 3, 8, 8)).astype(np.float32)
    (values,) = session.run({"photo": pixels}).values()
    normalized = torch.from_numpy(pixels) / 127.5 + torch.tensor([-1, -0.5, 0]).reshape(3, 1, 1)
    np.testing.assert_allclose(values, net(normalized).detach().numpy(), atol=1e-5)


def test_normalized_pixels_are_refused_for_an_image(classifier):
    with pytest.raises(BadInput, match="image photo takes whole pixel values from 0 to 255"):
        CoremlSession(classifier, native=False).run({"photo": np.full((1, 3, 8, 8), 0.5, np.float32)})


def test_wrong_inputs_are_named(package):
    session = CoremlSession(package, native=False)
    with pytest.raises(BadInput, match=r"inputs are image, got picture"):
        session.run({"picture": np.zeros((1, 3, 8, 8), np.float32)})
    with pytest.raises(BadInput, match=r"image must have shape \(1, 3, 8, 8\), got \(1, 3, 8, 9\)"):
        session.run({"image": np.zeros((1, 3, 8, 9), np.float32)})


@pytest.fixture
def copy(package, tmp_path):
    return shutil.copytree(package, tmp_path / "copy.mlpackage")


def test_missing_manifest_is_named(copy):
    (copy / "Manifest.json").unlink()
    with pytest.raises(BadInput, match=r"Manifest.json: missing"):
        CoremlSession(copy)


def test_manifest_without_a_root_is_named(copy):
    (copy / "Manifest.json").write_text("{}")
    with pytest.raises(BadInput, match=r"Manifest.json: names no root model"):
        CoremlSession(copy)


@pytest.mark.parametrize("keep", [0, 40, 200, 900])
def test_truncated_weights_are_named(copy, keep):
    weights = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"weight.bin: .*export the package again"):
        CoremlSession(copy)


def test_overwritten_weights_are_named(copy):
    weights = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(BadInput, match=r"weight.bin: .*does not begin a blob"):
        CoremlSession(copy)


def test_damaged_model_is_named(copy):
    model = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model.write_bytes(b"\xff" * 100)
    with pytest.raises(BadInput, match=r"model.mlmodel: not a Core ML model"):
        CoremlSession(copy)
    model.unlink()
    with pytest.raises(BadInput, match=r"model.mlmodel: missing"):
        CoremlSession(copy)


def test_not_a_package_is_named(tmp_path):
    file = tmp_path / "net.mlpackage"
    with pytest.raises(BadInput, match="no such package"):
        CoremlSession(file)
    file.write_bytes(b"zip")
    with pytest.raises(BadInput, match="not a folder"):
        CoremlSession(file)


def test_unsupported_operator_names_operator_and_output(tmp_path):
    with quiet():
        import coremltools as ct
        from coremltools.converters.mil.mil import Builder as mb

        @mb.program(input_specs=[mb.TensorSpec(shape=(3, 4))], opset_version=ct.target.iOS17)
        def program(x):
            return mb.non_zero(x=x, name="places")

        ct.convert(program, minimum_deployment_target=ct.target.iOS17, skip_model_load=True).save(
            str(tmp_path / "net.mlpackage")
        )
    with pytest.raises(UnsupportedOperator, match=r"places.*: the ML program evaluator has no form of non_zero"):
        CoremlSession(tmp_path / "net.mlpackage")


def test_weights_compressed_by_coremltools_are_read_back(net, package, tmp_path):
    """Its symmetric 8-bit quantization: scale = absmax / 127 per output channel, half a step from the float weight."""
    with quiet():
        import coremltools.optimize.coreml as cto
        from coremltools.models import MLModel

        config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=10))
        smaller = cto.linear_quantize_weights(MLModel(str(package), skip_model_load=True), config)
        smaller.save(str(tmp_path / "small.mlpackage"))
    weights = read_weights(tmp_path / "small.mlpackage")
    kernel = net.conv.weight.detach().numpy()
    found = next(tensor for tensor in weights.values() if tensor.codes.shape == kernel.shape)
    assert (found.codes.dtype, found.axis) == (np.dtype("int8"), 0)
    np.testing.assert_allclose(found.scale, np.abs(kernel).max((1, 2, 3)) / 127, rtol=1e-5)
    assert (np.abs(found.dequantize() - kernel) <= 0.5001 * found.scale.reshape(-1, 1, 1, 1)).all()


def test_coverage_lists_what_mobile_networks_use():
    needed = """const cast pad conv batch_norm linear matmul add sub mul real_div maximum square sqrt clip relu silu
    gelu sigmoid sigmoid_hard thresholded_relu softmax layer_norm reduce_mean reduce_sum reduce_l2_norm avg_pool
    max_pool reshape transpose expand_dims squeeze concat split slice_by_index tile gather_along_axis upsample_bilinear
    quantize dequantize constexpr_affine_dequantize constexpr_lut_to_dense constexpr_sparse_to_dense
    constexpr_blockwise_shift_scale"""
    assert set(needed.split()) <= set(coverage())
