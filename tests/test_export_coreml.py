"""`to_coreml`: numbers, names, bytes, integers and errors, each checked on the saved package."""

import json

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.coreml import to_coreml
from offramp.models.care_transformer import XXS, CareTransformer
from offramp.runtime.coreml_session import CoremlSession, read_activation_scales, read_weights
from offramp.runtime.mil import load_program
from torch import nn
from torch.nn import functional

Q = torch.ops.quantized_decomposed
WEIGHT_RANGE = (-127, 127, torch.int8)
CODE_RANGE = (-128, 127, torch.int8)
BIAS_RANGE = (-(2**31), 2**31 - 1, torch.int32)


def through_codes(x, scale, zero_point):
    codes = Q.quantize_per_tensor.default(x, scale, zero_point, *CODE_RANGE)
    return Q.dequantize_per_tensor.default(codes, scale, zero_point, *CODE_RANGE)


class QuantizedLayer(nn.Module):
    """Weights as int8 codes per output channel, and a bias as int32 codes, in the canonical form."""

    def __init__(self, shape, input_scale, seed):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.register_buffer("codes", torch.randint(-127, 128, shape, generator=draw).to(torch.int8))
        self.register_buffer("scales", torch.rand(shape[0], generator=draw) * 0.01 + 0.001)
        self.register_buffer("zeros", torch.zeros(shape[0], dtype=torch.int64))
        self.register_buffer("bias", torch.randint(-9000, 9000, shape[:1], generator=draw).to(torch.int32))
        self.register_buffer("bias_scales", self.scales * input_scale)

    def real(self):
        weight = Q.dequantize_per_channel.default(self.codes, self.scales, self.zeros, 0, *WEIGHT_RANGE)
        return weight, Q.dequantize_per_channel.default(self.bias, self.bias_scales, self.zeros, 0, *BIAS_RANGE)


class QuantizedConv(QuantizedLayer):
    def forward(self, x):
        return functional.conv2d(x, *self.real(), padding=1)


class QuantizedLinear(QuantizedLayer):
    def forward(self, x):
        return functional.linear(x, *self.real())


class QuantizedNet(nn.Module):
    """conv, ReLU, mean, linear with int8 activations of several scales; zero point -128 after the ReLU."""

    def __init__(self):
        super().__init__()
        self.conv = QuantizedConv((8, 3, 3, 3), 0.02, 0)
        self.twin = QuantizedConv((8, 8, 3, 3), 0.013, 0)
        self.classify = QuantizedLinear((5, 8), 0.007, 2)

    def forward(self, x):
        x = through_codes(x, 0.02, 3)
        x = through_codes(torch.relu(self.conv(x)), 0.013, -128)
        x = through_codes(x + through_codes(self.twin(x), 0.031, 5), 0.037, -7)
        return through_codes(self.classify(through_codes(x.mean((2, 3)), 0.007, -128)), 0.03, 1)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    net = QuantizedNet().eval()
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    path = tmp_path_factory.mktemp("int8") / "net.mlpackage"
    artifact = to_coreml(program, path, input_names=["image"], output_names=["scores"], precision="int8")
    return net, artifact


def test_int8_weights_read_back_identical(quantized):
    net, artifact = quantized
    weights = read_weights(artifact.path)
    assert set(weights) == {"conv_codes", "twin_codes", "classify_codes"}
    for name, tensor in weights.items():
        assert artifact.modules[name] == name.removesuffix("_codes")
        layer = net.get_submodule(name.removesuffix("_codes"))
        assert tensor.axis == 0
        assert tensor.codes.dtype == np.int8
        np.testing.assert_array_equal(tensor.codes, layer.codes.numpy())
        np.testing.assert_array_equal(tensor.scale, layer.scales.numpy())
        np.testing.assert_array_equal(tensor.zero_point, layer.zeros.numpy())


def test_activation_scales_read_back_identical(quantized):
    _, artifact = quantized
    expected = {
        "image": (0.02, 3),
        "relu": (0.013, -128),
        "conv2d_1": (0.031, 5),
        "add": (0.037, -7),
        "mean": (0.007, -128),
        "linear": (0.03, 1),
    }
    found = read_activation_scales(artifact.path)
    assert found == {name: (float(np.float32(scale)), zero, "int8") for name, (scale, zero) in expected.items()}


def test_biases_are_the_float_numbers_of_the_program(quantized):
    net, artifact = quantized
    constants = {
        op.outputs[0].name: op.inputs["val"] for op in load_program(artifact.path).operations if op.type == "const"
    }
    for name in ("conv", "twin", "classify"):
        expected = net.get_submodule(name).real()[1].numpy()
        np.testing.assert_array_equal(constants[f"b_{name}_bias"], expected)
    assert artifact.details["biases"].startswith("3 int32 biases")


def test_int8_outputs_are_within_one_code(quantized):
    net, artifact = quantized
    session = CoremlSession(artifact.path, native=False)
    for seed in range(5):
        x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        steps = (session.run({"image": x.numpy()})["scores"] - net(x).numpy()) / 0.03
        assert np.abs(steps).max() < 1.001


def test_every_quantized_value_has_its_module(quantized):
    _, artifact = quantized
    modules = {
        op.outputs[0].name: (op.type, artifact.modules.get(op.outputs[0].name)) for op in _computed(artifact.path)
    }
    assert None not in {path for _, path in modules.values()}
    assert {path for kind, path in modules.values() if kind == "conv"} == {"conv", "twin"}
    assert {path for kind, path in modules.values() if kind == "linear"} == {"classify"}


def _computed(path):
    return [op for op in load_program(path).operations if op.type != "const"]


def test_quantizing_to_part_of_the_range_is_refused(tmp_path):
    class Narrow(nn.Module):
        def forward(self, x):
            codes = Q.quantize_per_tensor.default(x, 0.1, 0, -127, 127, torch.int8)
            return Q.dequantize_per_tensor.default(codes, 0.1, 0, -127, 127, torch.int8)

    program = torch.export.export(nn.Sequential(Narrow()), (torch.zeros(1, 4),))
    with pytest.raises(
        UnsupportedOperator, match=r"^0: coreml has no form of .*quantize_per_tensor.default to -127..127"
    ):
        to_coreml(program, tmp_path / "a.mlpackage", input_names=["x"], output_names=["y"], precision="int8")


@pytest.fixture(scope="module")
def care():
    torch.manual_seed(0)
    net = CareTransformer(XXS).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return net


@pytest.fixture(scope="module")
def care_program(care):
    return torch.export.export(care, (torch.zeros(1, 1, 32, 32),))


@pytest.fixture(scope="module", params=["float32", "float16"])
def care_artifact(request, care_program, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "care.mlpackage"
    return to_coreml(
        care_program,
        path,
        input_names=["image"],
        output_names=["logits"],
        precision=request.param,
        metadata={"author": "someone", "license": "MIT", "version": "3", "description": "digits", "seed": "7"},
    )


def test_care_transformer_agrees_with_torch(care, care_artifact):
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    session = CoremlSession(care_artifact.path, native=False)
    expected = care(x).detach().numpy()
    # float16 keeps 11 bits; some forty layers in a row leave errors of a few of its steps.
    tolerance = 1e-5 if care_artifact.precision == "float32" else 16 * 2.0**-11
    error = np.abs(session.run({"image": x.numpy()})["logits"] - expected).max()
    assert error <= tolerance * np.abs(expected).max()


def test_names_shapes_and_dtypes_are_the_users(care_artifact):
    session = CoremlSession(care_artifact.path, native=False)
    assert session.inputs == care_artifact.inputs
    assert session.outputs == care_artifact.outputs
    assert [(s.name, s.shape, s.dtype) for s in session.inputs] == [("image", (1, 1, 32, 32), "float32")]
    assert [(s.name, s.shape, s.dtype) for s in session.outputs] == [("logits", (1, 10), "float32")]


def test_module_paths_lead_to_the_layers_that_compute(care, care_artifact):
    """Each value's module, found by name, is of the kind of its operator, and every such layer is found.

    A batch norm right behind a convolution is folded into it, and the value carries the batch norm's name.
    """
    kinds = {
        "conv": (nn.Conv2d, nn.BatchNorm2d),
        "batch_norm": nn.BatchNorm2d,
        "layer_norm": nn.LayerNorm,
        "linear": nn.Linear,
    }
    found = set()
    for operation in _computed(care_artifact.path):
        for value in operation.outputs:
            path = care_artifact.modules.get(value.name)
            if path is None:
                assert operation.type == "cast"
            elif operation.type in kinds:
                assert isinstance(care.get_submodule(path), kinds[operation.type]), (value.name, path)
                found.add(path)
    whole = (nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm, nn.Linear)
    layers = {name for name, module in care.named_modules() if isinstance(module, whole)}
    assert layers - found == {"stem.0"}


def test_layer_outputs_agree_at_the_module_that_the_map_names(care, care_artifact):
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    seen = {}
    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, o))
        for name, module in care.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    care(x)
    for hook in hooks:
        hook.remove()
    values = CoremlSession(care_artifact.path, native=False).intermediates({"image": x.numpy()})
    step = 1e-5 if care_artifact.precision == "float32" else 2e-2
    compared = 0
    for operation in _computed(care_artifact.path):
        path = care_artifact.modules.get(operation.outputs[0].name)
        if operation.type == "conv" and path in seen:
            expected = seen[path].detach().numpy()
            error = np.abs(values[operation.outputs[0].name] - expected).max()
            assert error <= step * np.abs(expected).max(), (operation.name, path)
            compared += 1
    assert compared == sum(isinstance(m, nn.Conv2d) for m in care.modules()) - 1  # the stem carries a folded batch norm


def test_values_carry_the_names_of_the_program(care_program, care_artifact):
    """All but what is folded into a neighbour is found by its name, the parts of splits too."""
    values = {value.name for operation in _computed(care_artifact.path) for value in operation.outputs}
    nodes = {node.name: node for node in care_program.graph.nodes if node.op == "call_function"}
    returned = set(care_program.graph_signature.user_outputs)
    folded = {"conv2d", *returned}  # into the batch norm of the stem; renamed for the user
    folded |= {name for name in nodes if name.startswith("transpose")}  # settings of the matrix product
    tuples = {name for name, node in nodes.items() if isinstance(node.meta["val"], tuple | list)}
    assert set(nodes) - tuples - folded <= values


def test_metadata_is_written(care_artifact):
    metadata = load_program(care_artifact.path).description.metadata
    assert (metadata.author, metadata.license, metadata.versionString) == ("someone", "MIT", "3")
    assert metadata.shortDescription == "digits"
    assert metadata.userDefined["seed"] == "7"
    assert not any("date" in key for key in metadata.userDefined)


def test_two_exports_give_equal_bytes(care_program, care_artifact, tmp_path):
    again = to_coreml(
        care_program,
        tmp_path / "again.mlpackage",
        input_names=["image"],
        output_names=["logits"],
        precision=care_artifact.precision,
        metadata={"author": "someone", "license": "MIT", "version": "3", "description": "digits", "seed": "7"},
    )
    assert again.sha256 == care_artifact.sha256
    manifest = json.loads((again.path / "Manifest.json").read_text())
    assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]


def small(module, *shapes):
    return torch.export.export(module.eval(), tuple(torch.zeros(shape) for shape in shapes))


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_an_operator_that_core_ml_lacks_is_named_with_its_module(tmp_path):
    program = small(nn.Sequential(nn.ReLU(), Bessel()), (1, 4))
    with pytest.raises(UnsupportedOperator, match=r"^1: coreml has no form of aten.special_bessel_j0.default"):
        to_coreml(program, tmp_path / "a.mlpackage", input_names=["x"], output_names=["y"], precision="float32")
    assert list(tmp_path.iterdir()) == []


def test_faults_are_gathered_in_one_line(tmp_path):
    program = small(nn.ReLU(), (1, 4))
    with pytest.raises(BadInput) as caught:
        to_coreml(program, tmp_path / "a.mlmodel", input_names=["x y", "z"], output_names=["x y"], precision="int4")
    for part in (
        "end in .mlpackage",
        "got int4",
        "1 inputs, got 2 names",
        "'x y' must be letters",
        "names must differ",
    ):
        assert part in str(caught.value)
    with pytest.raises(BadInput, match="int8 activations need iOS17, got iOS16"):
        to_coreml(
            program,
            tmp_path / "a.mlpackage",
            input_names=["x"],
            output_names=["y"],
            precision="int8",
            minimum_target="iOS16",
        )


def test_labels_and_images_must_fit(tmp_path):
    program = small(nn.ReLU(), (1, 4))
    options = {"input_names": ["x"], "output_names": ["y"], "precision": "float32"}
    with pytest.raises(BadInput, match=r"3 labels need one output of \(1, 3\), got \(1, 4\)"):
        to_coreml(program, tmp_path / "a.mlpackage", labels=["a", "b", "c"], **options)
    with pytest.raises(BadInput, match=r"x: an image input must be \(1, 1 or 3, H, W\), got \(1, 4\)"):
        to_coreml(program, tmp_path / "a.mlpackage", image_input=True, **options)
