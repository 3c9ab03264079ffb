"""Programs on disk: equal bits after reading back, one line for every kind of damage, and no code run by a file."""

import contextlib
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.quant.program import load_exported, load_program, save_program
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized


class TwoHeads(nn.Module):
    """Two inputs, two named outputs, a layer kept in float."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.head = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, left, right):
        x = self.norm(self.stem(left) + right)
        return {"logits": self.head(x), "features": x}


@pytest.fixture(scope="module")
def program():
    torch.manual_seed(0)
    return quantized(TwoHeads(), (1, 6), (1, 8))


@pytest.fixture
def folder(program, tmp_path):
    save_program(program, tmp_path / "program")
    return tmp_path / "program"


def test_a_program_read_back_gives_equal_bits(program, folder):
    again = load_program(folder)
    for seed in range(5):
        inputs = noise((1, 6), seed), noise((1, 8), seed + 50)
        assert all(torch.equal(a, b) for a, b in zip(again(*inputs), program(*inputs), strict=True))
    assert (again.scheme, again.input_names, again.output_names) == (
        program.scheme,
        ("left", "right"),
        ("logits", "features"),
    )
    assert again.float_operators == program.float_operators != ()
    assert (again.constants(), again.activations()) == (program.constants(), program.activations())
    assert (again.modules, again.output_steps()) == (program.modules, program.output_steps())


def test_names_and_module_paths_survive_a_second_round(program, folder, tmp_path):
    save_program(load_program(folder), tmp_path / "second")
    second = load_program(tmp_path / "second")
    assert second.modules == program.modules
    assert {second.modules[name] for name in ("linear", "layer_norm", "linear_1")} == {"stem", "norm", "head"}


def test_every_constant_dequantizes_to_what_the_program_multiplies_by(program):
    for name, tensor in program.constants().items():
        assert tensor.codes.dtype.name == ("int32" if name.endswith("bias") else "int8")
        assert tensor.dequantize().shape == tensor.codes.shape
    assert {"stem_weight", "stem_bias", "head_weight", "head_bias"} == set(program.constants())


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere/scheme\.json: no such file"):
        load_program(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"net\.pt2: no such file"):
        load_exported(tmp_path / "net.pt2")


def one_line(error):
    return "\n" not in str(error.value)


def test_a_program_cut_anywhere_is_one_line(folder):
    whole = (folder / "program.pt2").read_bytes()
    for share in (0.0, 0.01, 0.3, 0.7, 0.999):
        (folder / "program.pt2").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadInput, match=r"program\.pt2: not a sound exported program") as error:
            load_program(folder)
        assert one_line(error)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_program_with_any_byte_changed_loads_equal_or_is_one_line(program, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "program.pt2"
    torch.export.save(program.program, path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    message, loaded = "", None
    try:
        loaded = load_exported(path)
    except BadInput as error:
        message = str(error)
    if loaded is None:
        assert message.startswith(f"{path}: ") and "\n" not in message
        return
    inputs = noise((1, 6)), noise((1, 8))  # the byte was padding, or a header's that nobody reads
    got = loaded.module(check_guards=False)(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(got, program(*inputs), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        '{"scheme": ',
        "[]",
        "{}",
        '{"scheme": {"weight_bits": 8, "colour": 3}, "inputs": [], "outputs": [], "float_operators": []}',
        '{"scheme": {}, "inputs": [], "outputs": [], "float_operators": [{"name": "x"}]}',
        '{"scheme": {}, "inputs": 3, "outputs": [], "float_operators": []}',
    ],
)
def test_a_damaged_scheme_is_one_line(folder, text):
    (folder / "scheme.json").write_text(text)
    with pytest.raises(BadInput, match=r"scheme\.json: not (valid JSON|a scheme written by offramp)") as error:
        load_program(folder)
    assert one_line(error)


class Exploit:
    """Unpickling it writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def rewritten(path, changes):
    """The archive with some inner files replaced or added: inner name -> bytes, or a function of the old JSON."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        files[name] = json.dumps(change(json.loads(files[name]))).encode() if callable(change) else change
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(f"{root}/{name}", content)


def pickled_with_torch(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def with_pickled_weight(config):
    next(iter(config["config"].values()))["use_pickle"] = True
    return config


def with_opaque_constant(config):
    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    return {"config": {"evil": meta}}


def with_code_as_name(model):
    text = json.dumps(model).replace('"left"', "\"left=__import__('pathlib').Path('MARK').touch()\"")
    return json.loads(text)


def with_code_as_size(model):
    size = {"as_expr": {"expr_str": "__import__('pathlib').Path('MARK').touch()", "hint": None}}
    first = next(iter(model["graph_module"]["graph"]["tensor_values"].values()))
    first["sizes"][0] = size
    return model


ATTACKS = {
    "sample inputs": lambda mark: {"data/sample_inputs/model.pt": pickled_with_torch(((Exploit(mark),), {}))},
    "a weight": lambda mark: {
        "data/weights/model_weights_config.json": with_pickled_weight,
        "data/weights/weight_0": pickled_with_torch(Exploit(mark)),
    },
    "a constant": lambda mark: {
        "data/constants/model_constants_config.json": with_opaque_constant,
        "data/constants/opaque_obj_0": pickle.dumps(Exploit(mark)),
    },
    "legacy weights": lambda mark: {"data/weights/model.pt": pickled_with_torch(Exploit(mark))},
    "a compiled library": lambda mark: {"data/aotinductor/model/model.so": b"\x7fELF"},
    "a value's name": lambda mark: {"models/model.json": with_code_as_name},
    "a size": lambda mark: {"models/model.json": with_code_as_size},
}


@pytest.mark.parametrize("where", ATTACKS)
def test_code_in_a_program_is_refused_and_not_run(where, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "MARK"
    rewritten(folder / "program.pt2", ATTACKS[where](mark))
    with pytest.raises(BadInput, match="refused, because loading it could run code") as error:
        load_program(folder)
    assert one_line(error)
    assert not mark.exists()


def test_the_attack_on_sample_inputs_works_where_nothing_guards(folder, tmp_path):
    """So that the test above cannot pass for want of an attack."""
    mark = tmp_path / "MARK"
    rewritten(folder / "program.pt2", ATTACKS["sample inputs"](mark))
    with contextlib.suppress(Exception):
        torch.export.load(folder / "program.pt2")
    assert mark.exists()


def test_a_program_with_an_open_batch_loads(tmp_path):
    class Halves(nn.Module):
        def forward(self, x):
            return torch.cat([x, x])[: x.shape[0] * 2 // 3]

    dynamic = torch.export.export(Halves(), (torch.zeros(6, 3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(dynamic, tmp_path / "net.pt2")
    x = noise((9, 3))
    assert torch.equal(load_exported(tmp_path / "net.pt2").module()(x), torch.cat([x, x])[:6])
