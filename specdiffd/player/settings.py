"""The engine's sizes and margins, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass

from specdiffd.base.messages import CHANNELS
from specdiffd.base.sizes import SIZES

FADE_MS = 30  # written at the end of every forecast: shorter, and an engine that dies ends in a click

PATIENCE_S = 0.004  # besides a block: less, and a revision that takes a little longer than usual is late


@dataclass(frozen=True)
class EngineSettings:
    """Sizes and margins. Samples are the timeline's; frames are the instrument's."""

    sample_rate_hz: int = 48000  # of the timeline
    block_samples: int = 256  # that the output reads at a time
    guard_samples: int = 48  # a splice is not written into a block that may be read sooner than this
    crossfade_samples: int = 144
    least_fade_samples: int = 48  # of a late splice
    before_onset_samples: int = 48  # a crossfade ends this long before the onset that it makes room for
    end_fade_samples: int = 1440  # written at the end of every forecast
    urgent_frames: int = SIZES.revision_frames  # of a revision, from its splice on
    most_frames: int = SIZES.longest_revision_frames  # of a revision that begins before its splice, because a draft had not been finished
    slice_frames: int = SIZES.revision_frames
    prepared_frames: int = SIZES.prepared_frames  # ahead of the next slice
    drafts: bool = True  # splice in a draft first, where the instrument can make one
    eager: bool = True  # render an event as soon as it comes; else as late as possible, together with all that comes until then
    lead_samples: int = 0  # how much earlier than as late as possible
    forecast_s: float = 2.0
    parts: tuple[frozenset[int], ...] = (frozenset(range(CHANNELS)),)  # MIDI channels of each part; a part has one score
    reverb: bool = False  # the second bus of the timeline is listened to: fill it

    @property
    def reserve_samples(self) -> float:
        """What should be left over when a revision begins as late as possible: not all take as long as is expected."""
        return self.block_samples + PATIENCE_S * self.sample_rate_hz


def settings_for(
    sample_rate_hz: int, block_size: int, crossfade_ms: float, forecast_s: float, parts: int, reverb: bool = False
) -> EngineSettings:
    """Settings for an output stream.

    Args:
        sample_rate_hz: of the stream.
        block_size: samples that the stream reads at a time.
        crossfade_ms: length of a splice that is in time.
        forecast_s: how much future is rendered.
        parts: how many scores the 16 MIDI channels are dealt to, in turn.
        reverb: whether the sound that goes to the reverberation is rendered, too.
    """
    samples_per_ms = sample_rate_hz / 1000
    return EngineSettings(
        sample_rate_hz=sample_rate_hz,
        block_samples=block_size,
        guard_samples=round(samples_per_ms),
        crossfade_samples=round(crossfade_ms * samples_per_ms),
        least_fade_samples=round(samples_per_ms),
        before_onset_samples=round(samples_per_ms),
        end_fade_samples=round(FADE_MS * samples_per_ms),
        forecast_s=forecast_s,
        parts=tuple(frozenset(range(part, CHANNELS, parts)) for part in range(parts)),
        reverb=reverb,
    )


@dataclass
class Counters:
    """What has happened since the engine started."""

    events: int = 0
    revisions: int = 0
    late_splices: int = 0
    overtaken: int = 0  # drafts that another event replaced before they were finished
    kept_drafts: int = 0  # drafts that were left unfinished, because a window had to be prepared first, or time was short
    stale_fades: int = 0  # times that the forecast ended before the rest of it came
    slices: int = 0
