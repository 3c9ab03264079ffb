"""The blocks that convolutional networks share: convolution, batch norm, activation."""

from torch import nn


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    same: bool = False,
) -> nn.Sequential:
    """(B, inputs, H, W) to (B, outputs, H / stride, W / stride).

    Padding is `kernel // 2` on every side, or with `same` TensorFlow's: a 3x3 kernel at stride 2 on an even size pads
    nothing above and left, one row below and one column right.
    """
    asymmetric = same and stride == 2 and kernel == 3
    padding = 0 if asymmetric else kernel // 2
    layers: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1))] if asymmetric else []
    layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False))
    layers.append(nn.BatchNorm2d(outputs))
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def depthwise_separable(inputs: int, outputs: int, stride: int = 1, same: bool = False) -> nn.Sequential:
    """Depthwise 3x3 and pointwise 1x1, each with batch norm and ReLU."""
    return nn.Sequential(
        conv_bn(inputs, inputs, stride=stride, groups=inputs, same=same), conv_bn(inputs, outputs, kernel=1)
    )


def clipped_conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Hardtanh, convolution, batch norm: the float form of a convolution that is meant to become ±1.

    (B, inputs, H, W) to (B, outputs, H / stride, W / stride). Where the input turns into its sign, gradients pass
    through that sign as if it were a Hardtanh; a float network trained with the Hardtanh itself is therefore the
    start from which its ±1 form is trained (Liu et al., Bi-Real Net, arXiv 1808.00278).
    """
    return nn.Sequential(
        nn.Hardtanh(),
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )
