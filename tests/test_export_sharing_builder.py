"""Equal vectors of numbers stand once in a flatbuffer; what is read back is the same."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from offramp.export.sharing_builder import SharingBuilder
from offramp.export.tflite_rewrites import pack_model, read_model

CHANNELS = 64


def model(count, zero=0):
    """Tensors of int8 with a scale and a zero point for each channel, and a buffer of bytes each."""
    tensors, buffers = [], [schema.BufferT()]
    for number in range(count):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.buffer, tensor.shape = f"t{number}", number + 1, [CHANNELS]
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.linspace(1, 2 + number, CHANNELS, dtype=np.float32)
        tensor.quantization.zeroPoint = np.full(CHANNELS, zero, np.int64)
        buffer.data = np.full(CHANNELS, 7, np.uint8)
        tensors.append(tensor)
        buffers.append(buffer)
    graph, made = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [], [], []
    made.version, made.buffers, made.subgraphs, made.operatorCodes = 3, buffers, [graph], []
    return made


def test_a_tensor_more_with_equal_zero_points_takes_no_room_for_them():
    one, two, three = (len(pack_model(model(count))) for count in (1, 2, 3))
    assert three - two < 8 * CHANNELS  # scales and bytes take five a channel, zero points would take eight more
    assert abs((three - two) - (two - one)) <= 16


@pytest.mark.parametrize("zero", [0, 3])
def test_what_is_read_back_is_what_was_written(zero):
    back = read_model(pack_model(model(3, zero)))
    for number, (tensor, wanted) in enumerate(zip(back.subgraphs[0].tensors, model(3, zero).subgraphs[0].tensors)):
        np.testing.assert_array_equal(tensor.quantization.scale, wanted.quantization.scale)
        np.testing.assert_array_equal(tensor.quantization.zeroPoint, wanted.quantization.zeroPoint)
        np.testing.assert_array_equal(back.buffers[number + 1].data, np.full(CHANNELS, 7))


def test_equal_numbers_of_other_types_are_apart():
    builder = SharingBuilder(64)
    first, again = (builder.CreateNumpyVector(np.zeros(4, np.int64)) for _ in range(2))
    assert first == again
    assert builder.CreateNumpyVector(np.zeros(4, np.float64)) != first
    assert builder.CreateNumpyVector(np.zeros(4, np.uint8)) != builder.CreateNumpyVector(np.zeros(4, np.uint8))
