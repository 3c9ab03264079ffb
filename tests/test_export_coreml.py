"""`to_coreml`: numbers, names, bytes and errors, each checked on the saved package."""

import json

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.coreml import to_coreml
from offramp.models.care_transformer import XXS, CareTransformer
from offramp.runtime.coreml_session import CoremlSession
from offramp.runtime.mil import load_program
from torch import nn


def _computed(path):
    return [op for op in load_program(path).operations if op.type != "const"]


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
    with pytest.raises(BadInput, match="output name 'state' is a word of Core ML's own; choose another"):
        to_coreml(program, tmp_path / "a.mlpackage", input_names=["x"], output_names=["state"], precision="float32")
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
