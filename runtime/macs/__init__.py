"""Multiply-accumulates, parameters and weight bytes: of the exported program, and of each artifact's own graph.

One multiply with its add counts one. Biases, norms, activations, additions of branches and pooling count nothing: they
have no multiply-add of weights or of two activations. An operator that might multiply and has no rule is never counted
as zero: it is listed in `uncounted`, and the total then reads "at least".

    count.py     MacCount and CountedOperation
    formulas.py  the closed forms, from shapes to numbers
    program.py   a torch.export program
    onnx_file.py, tflite_file.py, mil_file.py and c_file.py  artifacts
    file.py      any artifact, by its suffix
"""

from .c_file import count_c
from .count import CountedOperation, MacCount
from .file import count_file
from .mil_file import count_coreml
from .onnx_file import count_onnx
from .program import count_program
from .tflite_file import count_tflite

__all__ = [
    "CountedOperation",
    "MacCount",
    "count_c",
    "count_coreml",
    "count_file",
    "count_onnx",
    "count_program",
    "count_tflite",
]
