"""Layers of many kinds through `to_coreml` and back through the evaluator, against the layers themselves."""

import numpy as np
import pytest
import torch
from offramp.export.coreml import to_coreml
from offramp.runtime.coreml_session import CoremlSession
from torch import nn

LAYERS = {
    "conv_transpose": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (1, 3, 5, 6)),
    "conv_1d": (nn.Conv1d(3, 6, 3, groups=3, dilation=2), (2, 3, 9)),
    "group_norm": (nn.GroupNorm(2, 4), (2, 4, 5, 5)),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True), (2, 4, 5, 5)),
    "hard_swish": (nn.Hardswish(), (1, 30)),
    "hard_sigmoid": (nn.Hardsigmoid(), (1, 30)),
    "mish": (nn.Mish(), (1, 30)),
    "prelu": (nn.PReLU(4), (2, 4, 5)),
    "max_pool_ceil": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (1, 2, 8, 9)),
    "avg_pool": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (1, 2, 8, 9)),
    "adaptive_pool": (nn.AdaptiveAvgPool2d(1), (1, 2, 7, 5)),
    "upsample": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), (1, 2, 5, 7)),
    "upsample_nearest": (nn.Upsample(scale_factor=2, mode="nearest"), (1, 2, 5, 7)),
    "pixel_shuffle": (nn.PixelShuffle(2), (1, 8, 3, 4)),
    "reflection_pad": (nn.ReflectionPad2d((1, 2, 0, 3)), (1, 2, 5, 6)),
    "attention": (nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (1, 6, 8)),
}


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """All layers in one program, which converts once."""

    class Side(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(layer for layer, _ in LAYERS.values())

        def forward(self, *inputs):
            return tuple(layer(x) for layer, x in zip(self.layers, inputs))

    net = Side().eval()
    inputs = tuple(
        torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i, (_, shape) in enumerate(LAYERS.values())
    )
    path = tmp_path_factory.mktemp("layers") / "layers.mlpackage"
    names = [f"{name}_in" for name in LAYERS]
    to_coreml(
        torch.export.export(net, inputs),
        path,
        input_names=names,
        output_names=[f"{name}_out" for name in LAYERS],
        precision="float32",
    )
    got = CoremlSession(path, native=False).run({name: x.numpy() for name, x in zip(names, inputs)})
    return got, dict(zip(LAYERS, map(lambda layer, x: layer(x).detach().numpy(), net.layers, inputs)))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_survives_conversion_and_evaluation(layers, name):
    got, expected = layers
    np.testing.assert_allclose(got[f"{name}_out"], expected[name], rtol=1e-5, atol=2e-6)


class Flatten(nn.Module):
    """Reshapes by `H * W`, which trips coremltools under numpy 2.4 when the sizes reach it as values."""

    def forward(self, x):
        batch, channels, height, width = x.shape
        return x.reshape(batch, channels, height * width).softmax(-1)


@pytest.mark.parametrize("open_batch", [False, True])
def test_reshape_by_height_times_width(open_batch, tmp_path):
    batch = torch.export.Dim("batch", min=1, max=8)
    dynamic = ({0: batch},) if open_batch else None
    x = torch.randn(2, 3, 4, 5)
    program = torch.export.export(Flatten(), (x,), dynamic_shapes=dynamic)
    artifact = to_coreml(program, tmp_path / "a.mlpackage", input_names=["x"], output_names=["y"], precision="float32")
    assert artifact.inputs[0].shape == (None if open_batch else 2, 3, 4, 5)
    session = CoremlSession(artifact.path, native=False)
    for size in (1, 5) if open_batch else (2,):
        x = torch.randn(size, 3, 4, 5)
        np.testing.assert_allclose(session.run({"x": x.numpy()})["y"], Flatten()(x).numpy(), atol=1e-6)
