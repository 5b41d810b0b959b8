"""An ONNX mel decoder of the published signature, small, with a receptive field of choice."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from specdiffd.base.formats import MelFormat

FORMAT = MelFormat()
HOP = FORMAT.hop_samples


def save_decoder(path: Path, past: int = 3, future: int = 2, channels: int = 8, name: str = "input_features", hop: int = HOP) -> None:
    """Convolutions over ``past`` + 1 + ``future`` frames (in two layers), then transposed ones up to the sample rate."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)

    nodes = [
        helper.make_node("Transpose", [name], ["a"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["a", "w1"], ["b"], pads=[1, 1]),
        helper.make_node("LeakyRelu", ["b"], ["c"], alpha=0.1),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=[past - 1, future - 1]),
        helper.make_node("LeakyRelu", ["d"], ["e"], alpha=0.1),
        helper.make_node("ConvTranspose", ["e", "w3"], ["f"], strides=[hop]),
        helper.make_node("Tanh", ["f"], ["g"]),
        helper.make_node("Squeeze", ["g", "axes"], ["audio"]),
    ]
    weights = [
        weight("w1", channels, FORMAT.mel_bins, 3),
        weight("w2", channels, channels, past + future - 1),
        weight("w3", channels, 1, hop),
        numpy_helper.from_array(np.array([1], np.int64), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "T", FORMAT.mel_bins])],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["B", "N"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
