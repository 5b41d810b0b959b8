"""What the engine asks the networks for is what they are compiled for, whatever the sizes are set to."""

from dataclasses import FrozenInstanceError, replace

import pytest

from specdiffd.base.sizes import SIZES, PassSizes

CHANGED = (
    SIZES,
    PassSizes(revision_frames=7, late_frames=1),
    PassSizes(revision_frames=20, late_frames=11, pass_frames=96, pass_tokens=30),
)


@pytest.mark.parametrize("sizes", CHANGED)
def test_a_revision_has_a_size_of_its_own(sizes: PassSizes) -> None:
    assert sizes.longest_revision_frames == sizes.revision_frames + sizes.late_frames
    for compiled in (sizes.decoder_frames, sizes.vocoder_frames):
        assert sizes.revision_frames in compiled
        assert sizes.longest_revision_frames in compiled
        assert sizes.pass_frames in compiled


@pytest.mark.parametrize("sizes", CHANGED)
def test_sizes_ascend(sizes: PassSizes) -> None:
    """A call is padded to the first one that is large enough."""
    for compiled in (sizes.decoder_frames, sizes.vocoder_frames, sizes.tokens):
        assert list(compiled) == sorted(set(compiled))
        assert compiled[0] > 0


def test_a_window_is_whole_passes() -> None:
    """A window of 256 frames is sampled in passes; a pass that is cut off would be padded each time."""
    assert 256 % SIZES.pass_frames == 0
    assert SIZES.cache_rows % SIZES.pass_frames == 0


def test_sizes_are_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        SIZES.pass_frames = 3  # type: ignore[misc]
    assert replace(SIZES, pass_frames=64) == SIZES
