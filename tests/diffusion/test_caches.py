"""Growing keys and values are values, whatever room they share."""

import torch

from specdiffd.base.sizes import SIZES
from specdiffd.diffusion.caches import Growing


def rows(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[None, None, None, :, None].expand(4, 1, 2, count, 3)


def test_appending_changes_nothing_that_is_held() -> None:
    a = Growing(torch.zeros(4, 1, 2, 0, 3)).followed_by(rows(0, 5))
    b = a.followed_by(rows(5, 7))
    c = a.followed_by(rows(100, 3))  # another continuation of the same
    d = b.first(8).followed_by(rows(200, 2))
    assert torch.equal(a.tensor, rows(0, 5))
    assert torch.equal(b.tensor, rows(0, 12))
    assert torch.equal(c.tensor, torch.cat((rows(0, 5), rows(100, 3)), 3))
    assert torch.equal(d.tensor, torch.cat((rows(0, 8), rows(200, 2)), 3))
    assert (a.count, b.count, c.count, d.count) == (5, 12, 8, 10)


def test_what_follows_the_last_needs_no_copy_until_the_room_is_full() -> None:
    grown = Growing(torch.zeros(4, 1, 2, 0, 3)).followed_by(rows(0, 1))
    place = grown.tensor.data_ptr()
    for k in range(1, SIZES.cache_rows):
        grown = grown.followed_by(rows(k, 1))
        assert grown.tensor.data_ptr() == place
    more = grown.followed_by(rows(SIZES.cache_rows, 1))
    assert more.tensor.data_ptr() != place
    assert torch.equal(more.tensor, rows(0, SIZES.cache_rows + 1))


def test_gradients_pass() -> None:
    weight = torch.ones(1, requires_grad=True)
    Growing(rows(0, 2) * weight).followed_by(rows(2, 3) * weight).tensor.sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == rows(0, 5).sum()
