import pytest

from specdiffd.tokens.codec import EOS, PAD, Codec

PUBLISHED = Codec()


def test_published_ids() -> None:
    """Section 2 of the published format: the vocabulary's layout."""
    assert (PUBLISHED.shift(0), PUBLISHED.shift(512)) == (3, 515)
    assert PUBLISHED.pitch_base == 1004
    assert PUBLISHED.velocity(0) == 1132
    assert {PUBLISHED.velocity(v) for v in range(1, 128)} == {1133}
    assert (PUBLISHED.tie, PUBLISHED.program_base, PUBLISHED.drum_base) == (1134, 1135, 1263)
    assert PUBLISHED.vocabulary_size == 1536


def test_ranges_do_not_overlap_and_names_tell_them() -> None:
    for codec in (PUBLISHED, Codec(200, 1100, 32, "full")):
        ids = [PAD, EOS, 2, *(codec.shift(n) for n in range(codec.max_shift_steps + 1)), *(codec.pitch_base + p for p in range(128))]
        ids += [codec.velocity_base + v for v in range(codec.velocity_bins + 1)] + [codec.tie]
        ids += [codec.program_base + p for p in range(128)] + [codec.drum_base + p for p in range(128)]
        assert ids == list(range(codec.drum_base + 128))
        assert len({codec.name(i) for i in ids}) == len(ids)
        assert codec.vocabulary_size >= ids[-1] + 1


def test_velocity_bins_are_even_and_reach_the_ends() -> None:
    codec = Codec(velocity_bins=32)
    bins = [codec.velocity(v) - codec.velocity_base for v in range(1, 128)]
    assert bins[0] == 1
    assert bins[-1] == 32
    assert bins == sorted(bins)
    assert {bins.count(b) for b in range(1, 33)} <= {3, 4}


@pytest.mark.parametrize(
    ("granularity", "program", "snapped"), [("full", 45, 45), ("family", 45, 40), ("slakh", 45, 43), ("slakh", 127, 88)]
)
def test_programs_snap_down(granularity: str, program: int, snapped: int) -> None:
    assert Codec(program_granularity=granularity).program(program) == snapped


@pytest.mark.parametrize(
    ("fields", "says"), [({"velocity_bins": 0}, "velocity_bins 0"), ({"program_granularity": "x"}, "full, slakh, family")]
)
def test_wrong_fields_are_named(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Codec(**fields)  # type: ignore[arg-type]
