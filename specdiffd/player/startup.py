"""How an engine process starts: load, warm up, wait for the word, choose the render delay, take over."""

from __future__ import annotations

import gc
import logging
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from specdiffd.base.config import Config
from specdiffd.base.instrument import Instrument
from specdiffd.player.delay import RenderDelay
from specdiffd.player.engine import Engine
from specdiffd.player.intake import Intake
from specdiffd.player.rehearsal import measure
from specdiffd.player.settings import EngineSettings, settings_for
from specdiffd.player.snapshot import resume
from specdiffd.shared.block import SharedBlock
from specdiffd.shared.messages import Alive, Go, Loaded, Working, receive_order, send

log = logging.getLogger(__name__)
ALIVE_S = 1.0  # between two signs of life of an engine that waits; the supervisor kills one after five seconds without
# A sequencer knows what comes: enough for one revision to render all events of 200 ms, and to have it done 50 ms before it must be.
SEQUENCER_DELAY_S, SEQUENCER_LEAD_S = 0.2, 0.05
REHEARSAL_S = 8.0  # fewer revisions than this has, and their 99th percentile is chance
MOST_THREADS = 4  # a revision's matrix products are too small for more


def load(config: Config, fake: bool, supervisor: Connection) -> Instrument[Any]:
    """The instrument, warmed up; says so to the supervisor.

    Args:
        config: names the instrument.
        fake: load one that plays sines instead.
        supervisor: hears of each part of the work that may take long.

    Raises:
        SpecdiffdError: it cannot be loaded.
        OSError: the supervisor is gone.
    """
    instrument = _sines() if fake else _configured(config)
    instrument.warm_up(lambda what: _working(supervisor, what))
    gc.collect()
    gc.freeze()
    send(supervisor, Loaded())
    return instrument


def _working(supervisor: Connection, what: str) -> None:
    log.debug("%s", what)
    send(supervisor, Working(what))


def _sines() -> Instrument[Any]:
    from specdiffd.instruments.sine import SineInstrument

    return SineInstrument()


def _configured(config: Config) -> Instrument[Any]:
    import torch

    torch.set_flush_denormal(True)  # the prior's quiet partials are denormals, which are slow
    from specdiffd.base.instrument import RenderSettings
    from specdiffd.instruments.loading import load_instrument, pick_device

    torch.set_grad_enabled(False)
    c = config.instrument
    settings = RenderSettings(
        seed=c.seed,
        steps=None if c.steps == "default" else c.steps,
        scheduler=None if c.scheduler == "default" else c.scheduler,
        guidance=1.0 if c.guidance == "default" else c.guidance,
    )
    threads, hop_frames = live_threads(os.cpu_count() or 1), config.engine.hop_frames
    return load_instrument(c.name, pick_device(c.device), c.dtype, settings, hop_frames, threads=threads, parts=_parts(config))


def live_threads(cores: int) -> int:
    """Threads of the networks while playing: as many as cores, up to ``MOST_THREADS``."""
    return max(1, min(MOST_THREADS, cores))


def wait_for_go(supervisor: Connection) -> Go | None:
    """What the supervisor orders, with a sign of life every second until then; None: stop.

    Raises:
        EOFError, OSError: the supervisor is gone.
    """
    while not supervisor.poll(ALIVE_S):
        send(supervisor, Alive())
    order = receive_order(supervisor)
    return order if isinstance(order, Go) else None


def engine_settings(config: Config, sample_rate_hz: int) -> EngineSettings:
    """The engine's settings for a stream at ``sample_rate_hz``."""
    audio, engine = config.audio, config.engine
    settings = settings_for(sample_rate_hz, audio.block_size, engine.crossfade_ms, engine.forecast_s, _parts(config), audio.reverb > 0)
    if engine.mode == "sequencer":
        settings = replace(settings, drafts=False, eager=False, lead_samples=round(SEQUENCER_LEAD_S * sample_rate_hz))
    return settings


def _parts(config: Config) -> int:
    return 1 if config.engine.parts == "auto" else config.engine.parts


def render_delay(config: Config, go: Go, engine: Engine, alive: Callable[[], object]) -> RenderDelay:
    """The render delay: as ordered, or as configured, or measured, which takes about ten seconds.

    Args:
        config: may fix it.
        go: knows it from the engine before this one.
        engine: whose instrument and settings are measured.
        alive: is called all the while.
    """
    fixed = config.engine.mode == "sequencer" or config.engine.render_delay_ms != "auto"
    seconds = _first_delay_s(config, engine, alive) if go.render_delay_s is None else go.render_delay_s
    return RenderDelay(seconds, fixed)


def _first_delay_s(config: Config, engine: Engine, alive: Callable[[], object]) -> float:
    configured_ms = config.engine.render_delay_ms
    if configured_ms != "auto":
        return configured_ms / 1e3
    if config.engine.mode == "sequencer":
        return SEQUENCER_DELAY_S
    measured = measure(engine.instrument, engine.settings, REHEARSAL_S, alive)
    log.info("render delay %.1f ms (%s)", measured.delay_s * 1e3, measured)
    return measured.delay_s


def take_over(engine: Engine, intake: Intake, go: Go) -> None:
    """Go on from the snapshot of an engine that died, if there is one."""
    for ring in intake.rings:
        ring.answer()  # it may have died between the bell and the answer
    if go.snapshot is not None:
        resume(engine, intake.rings, zlib.decompress(go.snapshot), go.moved_s)
    if go.skip_events:
        log.error("%d events are left out, an engine has died of them twice", intake.drop_waiting())


def start_playing(shared: SharedBlock, config: Config, instrument: Instrument[Any], go: Go) -> tuple[Engine, RenderDelay, Intake]:
    """An engine that plays from now on, its render delay, and what feeds it."""
    header = shared.timeline.header

    def alive() -> None:
        header.engine_alive_ns = time.monotonic_ns()

    engine = Engine(instrument, shared.timeline, engine_settings(config, go.sample_rate_hz))
    delay = render_delay(config, go, engine, alive)
    intake = Intake(shared, engine, delay)
    take_over(engine, intake, go)
    return engine, delay, intake
