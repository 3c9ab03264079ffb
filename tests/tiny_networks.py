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


# What users bring that is no image classifier: several inputs and outputs, ids, sound, attention, regression.
OTHERS = {
    "two_by_two": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.words, self.picture = nn.Embedding(11, 8), nn.Conv2d(1, 8, 3, stride=2)
                self.score, self.box = nn.Linear(8, 3), nn.Linear(8, 4)

            def forward(self, image, ids):
                both = self.picture(image).relu().mean((2, 3)) + self.words(ids).mean(1)
                return {"score": self.score(both), "box": self.box(both)}
        """,
        "ready(Net, torch.randn(1, 1, 9, 9), torch.randint(0, 11, (1, 6)))",
        {"image": (1, 9, 9), "ids": (6,)},
        {"score": (1, 3), "box": (1, 4)},
    ),
    "mlp": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(
                    nn.Linear(40, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 5), nn.Softmax(-1)
                )

            def forward(self, features):
                return self.net(features)
        """,
        "ready(Net, torch.randn(1, 40))",
        {"features": (40,)},
        {"output": (1, 5)},
    ),
    "sound": (
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = nn.Conv1d(1, 8, 9, stride=4), nn.Conv1d(8, 8, 5, padding=2, groups=8)
                self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, 4)

            def forward(self, wave):
                return self.head(functional.hardswish(self.norm(self.second(self.first(wave).relu()))).mean(2))
        """,
        "ready(Net, torch.randn(1, 1, 128))",
        {"wave": (1, 128)},
        {"output": (1, 4)},
    ),
    "encoder": (
        """
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.before, self.after = nn.LayerNorm(16), nn.LayerNorm(16)
                self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
                self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

            def forward(self, x):
                y = self.before(x)
                x = x + self.attention(y, y, y, need_weights=False)[0]
                return x + self.down(functional.gelu(self.up(self.after(x))))

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.query, self.head = nn.Linear(16, 16), nn.Linear(16, 3)
                self.encoder = nn.ModuleDict({"one": Block()})

            def forward(self, tokens):
                x = self.encoder["one"](tokens)
                q = self.query(x)
                return self.head(functional.scaled_dot_product_attention(q, x, x).mean(1))
        """,
        "ready(Net, torch.randn(1, 7, 16))",
        {"tokens": (7, 16)},
        {"output": (1, 3)},
    ),
    "regression": (
        """
        class Inner(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(6, 12)

            def forward(self, x):
                return torch.tanh(self.fc(x))

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.trunk = nn.ModuleDict({"a": nn.Sequential(Inner())})
                self.last = nn.Linear(12, 1)

            def forward(self, position):
                return self.last(self.trunk["a"](position))
        """,
        "ready(Net, torch.randn(1, 6))",
        {"position": (6,)},
        {"output": (1, 1)},
    ),
}


def other_network(folder: Path, name: str, module: str) -> str:
    """One of `OTHERS`, written as `folder/MODULE.py`."""
    body, build, _, _ = OTHERS[name]
    return write_network(folder, module, body, build)
