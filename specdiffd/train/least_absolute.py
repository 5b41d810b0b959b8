"""Linear fits with the least mean absolute error, by iteratively reweighted least squares: a few outliers do not move them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from specdiffd.prior.gains import interpolation_place
from specdiffd.prior.mixing import summed

ROUNDS = 6  # of weighted least squares
LEAST_ERROR = 0.05  # nepers: a smaller error gets no larger weight; without a bound the weight of an exact fit would be infinite
# Penalties that decide where a key's notes have too few frames: towards 0, and towards the neighbouring factor. Each counts as much as so
# many frames that are a neper off.
TOWARDS_ZERO, TOWARDS_EACH_OTHER = 1.0, 10.0
DETAILS_TOWARDS_ZERO, DETAILS_TOWARDS_EACH_OTHER = 0.1, 3.0


def least_absolute(basis: Tensor, error: Tensor, weight: Tensor, at_most: Tensor) -> Tensor:
    """Factors (J, mel) such that ``basis`` (n, J) times them has the least mean absolute distance to ``error`` (n, mel).

    Args:
        weight: (n, mel) of each error.
        at_most: (n, mel) bool: where a fit below ``error`` is no error.
    """
    steps = torch.eye(basis.shape[1]).diff(dim=0)
    penalty = TOWARDS_ZERO * torch.eye(basis.shape[1]) + TOWARDS_EACH_OTHER * steps.T @ steps
    squares = (basis[:, :, None] * basis[:, None]).flatten(1)
    factors = torch.zeros(basis.shape[1], error.shape[1])
    for _ in range(ROUNDS):
        reweighted = _reweighted(error - basis @ factors, weight, at_most)
        normal = (reweighted.T @ squares).unflatten(1, penalty.shape) + penalty  # (mel, J, J)
        factors = torch.linalg.solve(normal, (reweighted * error).T @ basis).T
    return factors


def least_absolute_between(x: Tensor, points: Sequence[float], error: Tensor, weight: Tensor, at_most: Tensor) -> Tensor:
    """Values (J, mel) at ``points``, whose linear interpolation at ``x`` (n,) has the least mean absolute distance to ``error`` (n, mel).

    The same as :func:`least_absolute` with interpolation weights as its basis, but with other penalties. Each x lies between two points, so
    the normal equations are tridiagonal and many points cost little.

    Args:
        points: ascending.
        weight: (n, mel) of each error.
        at_most: (n, mel) bool: where a fit below ``error`` is no error.
    """
    upper, fraction = interpolation_place(x, points)
    fraction, count = fraction[:, None], len(points)

    def at_points(lower_part: Tensor, upper_part: Tensor) -> Tensor:
        return summed(lower_part, upper - 1, count) + summed(upper_part, upper, count)

    values = torch.zeros(count, error.shape[1])
    neighbours = torch.ones(count, 1)
    neighbours[1:-1] = 2
    for _ in range(ROUNDS):
        reweighted = _reweighted(error - torch.lerp(values[upper - 1], values[upper], fraction), weight, at_most)
        squares = at_points(reweighted * (1 - fraction).square(), reweighted * fraction.square())
        diagonal = squares + DETAILS_TOWARDS_ZERO + DETAILS_TOWARDS_EACH_OTHER * neighbours
        off_diagonal = summed(reweighted * fraction * (1 - fraction), upper, count)[1:] - DETAILS_TOWARDS_EACH_OTHER
        right_side = at_points(reweighted * error * (1 - fraction), reweighted * error * fraction)
        values = _solve_tridiagonal(diagonal, off_diagonal, right_side)
    return values


def _reweighted(residual: Tensor, weight: Tensor, at_most: Tensor) -> Tensor:
    """Weights (n, mel) with which squared errors count as absolute ones; 0 where the fit is allowed to be too small, and is."""
    return torch.where(at_most & (residual >= 0), 0.0, weight / residual.abs().clamp_min(LEAST_ERROR))


def _solve_tridiagonal(diagonal: Tensor, off_diagonal: Tensor, right_side: Tensor) -> Tensor:
    """The solutions (J, n) of symmetric tridiagonal systems, one per column, by elimination without pivoting.

    Args:
        diagonal: (J, n).
        off_diagonal: (J - 1, n).
        right_side: (J, n).
    """
    pivots, right = [diagonal[0]], [right_side[0]]
    for k, off in enumerate(off_diagonal):
        ratio = off / pivots[-1]
        pivots.append(diagonal[k + 1] - ratio * off)
        right.append(right_side[k + 1] - ratio * right[-1])
    solution = [right[-1] / pivots[-1]]
    for k in reversed(range(len(off_diagonal))):
        solution.append((right[k] - off_diagonal[k] * solution[-1]) / pivots[k])
    return torch.stack(solution[::-1])
