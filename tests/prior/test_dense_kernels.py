"""Compiled layers against NumPy's matrix product, at sizes that are no multiple of eight, and layers of 16-bit weights."""

import numpy as np
import pytest
import torch
from torch import nn

from specdiffd.prior.arrays import WEIGHT_STEPS, float_layer, short_layer
from specdiffd.prior.dense_kernels import Layer, affine, gelu_all

SIZES = [(1, 1), (3, 7), (8, 8), (9, 5), (16, 17), (31, 2)]  # inputs, outputs


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def applied(layer: Layer, x: np.ndarray) -> np.ndarray:
    y = np.full(len(layer.bias), 99, np.float32)  # what was there does not count
    affine(x, layer, y)
    return y


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_a_layer_is_a_matrix_product(inputs: int, outputs: int) -> None:
    weight, scale, bias, x = numbers(inputs, outputs), numbers(outputs), numbers(outputs), numbers(inputs)
    found = applied(Layer(weight, scale, bias), x)
    np.testing.assert_allclose(found, x.astype(np.float64) @ weight * scale + bias, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_a_layer_of_torch_has_its_inputs_first(inputs: int, outputs: int) -> None:
    torch.manual_seed(inputs)
    linear, x = nn.Linear(inputs, outputs), numbers(inputs)
    expected = linear(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(applied(float_layer(linear), x), expected, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_weights_of_sixteen_bits_are_off_by_half_a_step_of_their_largest(inputs: int, outputs: int) -> None:
    torch.manual_seed(outputs)
    linear = nn.Linear(inputs, outputs)
    with torch.no_grad():
        linear.weight[0] *= 1000  # one output's scale is no other's
    short, exact = short_layer(linear), linear.weight.detach().numpy().T
    assert short.weight.dtype == np.int16
    error = np.abs(short.weight * short.scale.astype(np.float64) - exact)
    # half a step, and what rounding the scale itself to single precision makes of the largest weight
    assert (error <= np.abs(exact).max(0) * (0.5 / WEIGHT_STEPS + 2e-7)).all()
    x = numbers(inputs)
    bound = error.T @ np.abs(x) + 1e-4 * (1 + np.abs(exact).max(0))
    assert (np.abs(applied(short, x) - linear(torch.from_numpy(x)).detach().numpy()) <= bound).all()


def test_weights_of_nothing_stay_nothing() -> None:
    linear = nn.Linear(5, 3)
    nn.init.zeros_(linear.weight)
    assert not short_layer(linear).weight.any()
    np.testing.assert_allclose(applied(short_layer(linear), numbers(5)), linear.bias.detach().numpy(), atol=1e-7)


def test_gelu_is_that_of_torch() -> None:
    x = np.concatenate((np.linspace(-40, 40, 4001), [0.0, 1e-20, -1e-20])).astype(np.float32)
    expected = nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    gelu_all(x)
    assert np.abs(x - expected).max() < 1e-4  # of values up to 40; the compiled exponential is exact to 3e-5
    np.testing.assert_allclose(x[:1500], 0, atol=1e-6)
    assert x[-3] == 0.0
