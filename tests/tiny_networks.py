"""Networks as a user brings them: files of a few lines, written to a folder that Python can import from."""

from pathlib import Path
from textwrap import dedent

_HEAD = """\
import torch
from torch import nn
from torch.nn import functional


def ready(network, *examples):
    torch.manual_seed(0)
    return network().eval(), examples
"""


def write_network(folder: Path, name: str, body: str, build: str) -> str:
    """Writes `folder/NAME.py` with `build()` and returns what a user would type, `NAME:build`."""
    code = f"{_HEAD}\n\n{dedent(body).strip()}\n\n\ndef build():\n    return {build}\n"
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    return f"{name}:build"


CONVNET = """
class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.conv = nn.Conv2d(size, size, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x).relu()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.body = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 4)

    def forward(self, image):
        return self.head(self.body(self.stem(image).relu()).mean((2, 3)))
"""


def convnet(folder: Path, name: str = "convnet") -> str:
    """Three convolutions and a linear layer on (1, 1, 12, 12) images, four classes."""
    return write_network(folder, name, CONVNET, "ready(Net, torch.randn(1, 1, 12, 12))")
