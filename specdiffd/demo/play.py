"""Runs the daemon, plays a performance into its MIDI port, records it and draws its spectrogram."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import rtmidi

from specdiffd.base.config import Config
from specdiffd.base.errors import DeviceError, MidiFileError, SpecdiffdError
from specdiffd.base.events import Event
from specdiffd.base.messages import ALL_NOTES_OFF, CHANNELS, CONTROL, NOTE_ON, PRESSURE, PROGRAM, SUSTAIN, SYSTEM_RESET
from specdiffd.base.signals import stop_on_signals
from specdiffd.control.client import ControlClient
from specdiffd.daemon.supervisor import Daemon
from specdiffd.io.devices import find_device, import_sounddevice
from specdiffd.midi.file import read_song
from specdiffd.shared.played import PlayedRing

log = logging.getLogger(__name__)
PERFORMANCE = Path(__file__).parent / "performance.mid"
TAIL_S = 3.0  # recorded behind the last event, for releases
Timed = tuple[float, list[int]]  # a message with its time in seconds
Send = Callable[[list[int]], object]


def play_demo(
    config: Config, folder: Path, song: Path | None, seconds: float | None, progress: Callable[[float, float], None]
) -> list[str]:
    """Play, record, draw; returns the lines to print at the end. Without a default audio device it plays in real time to nobody.

    Args:
        folder: gets ``recording.wav``, ``spectrogram.png`` and ``figures.json``.
        song: a MIDI file; None: the bundled performance.
        seconds: where to stop; None: at the end.
        progress: called with the seconds played and those in all.

    Raises:
        SpecdiffdError: the song cannot be read, or the daemon cannot start.
    """
    events = read_events(song or PERFORMANCE, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    recording = folder / "recording.wav"
    way, status = _record(_with_device(config), events, recording, progress)
    figures = {"seconds": round(events[-1][0], 1), **status}
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    picture = draw_spectrogram(recording, folder / "spectrogram.png")
    files = [f"recording: {recording}", f"picture:   {picture}", f"figures:   {folder / 'figures.json'}"]
    return [*_summary(figures, way), *files]


def _with_device(config: Config) -> Config:
    """The configuration; without an audio device if it names the default one and there is none."""
    if config.audio.device != "default" or has_audio_device():
        return config
    log.warning("no audio device here: playing in real time to nobody, the recording is what would have been heard")
    return msgspec.structs.replace(config, audio=msgspec.structs.replace(config.audio, device="null"))


def _record(config: Config, events: list[Timed], recording: Path, progress: Callable[[float, float], None]) -> tuple[str, dict[str, Any]]:
    """Play events into a daemon and record what it plays. Returns the way that they took, and the daemon's status at the end."""
    daemon = Daemon(config)
    stop = stop_on_signals()
    with ExitStack() as stack:
        daemon.start()
        stack.callback(daemon.stop)
        server = threading.Thread(target=daemon.serve, name="supervisor", daemon=True)
        server.start()
        stack.callback(server.join, 5)
        stack.callback(daemon.request_stop)
        stack.enter_context(recorded(daemon.shared.played, daemon.sample_rate_hz, recording))
        send, way = stack.enter_context(keyboard(config, daemon))
        log.info("playing through %s", way)
        _play(events, send, stop, progress)
        return way, daemon.status()


def _summary(figures: dict[str, Any], way: str) -> list[str]:
    counters, revision = figures["counters"], figures["revision"]
    return [
        f"played {figures['seconds']} s through {way} to {figures['audio']['output']}",
        f"key to sound {figures['render_delay_ms']} ms, constant "
        f"(a revision took {revision['p50_ms']} ms, 99th percentile {revision['p99_ms']} ms)",
        f"{counters['events']} events, {counters['revisions']} revisions, {counters['late_splices']} late; "
        f"{counters['missing_runs']} dropouts, {counters['stale_fades']} fades for want of forecast",
    ]


def read_events(song: Path, seconds: float | None) -> list[Timed]:
    """A file's channel messages. The last ones let go of all pedals and notes.

    Raises:
        MidiFileError: it cannot be read, or holds nothing.
    """
    found = read_song(song)
    for warning in found.warnings:
        log.warning("%s", warning)
    end_s = found.end_s if seconds is None else min(found.end_s, seconds)
    events = [(e.time_s, _message(e)) for e in found.events if e.time_s <= end_s]
    if not any(e.kind == NOTE_ON for e in found.events):
        raise MidiFileError(f"{song}: no notes in it")
    return events + [(end_s, [CONTROL | channel, control, 0]) for channel in range(CHANNELS) for control in (SUSTAIN, ALL_NOTES_OFF)]


def _message(event: Event) -> list[int]:
    """The bytes of an event as a MIDI port carries them."""
    length = 1 if event.kind == SYSTEM_RESET else 2 if event.kind in (PROGRAM, PRESSURE) else 3
    return [event.status, event.data1, event.data2][:length]


def has_audio_device() -> bool:
    """Whether PortAudio finds a device to play to."""
    try:
        find_device(import_sounddevice(), "default")
    except DeviceError as error:
        log.info("%s", error)
        return False
    return True


@contextmanager
def keyboard(config: Config, daemon: Daemon) -> Iterator[tuple[Send, str]]:
    """A function that sends messages to the daemon, and how: through a real MIDI port if there is one, else the control socket."""
    if daemon.midi_api is not None:
        for api in (a for a in rtmidi.get_compiled_api() if rtmidi.get_api_display_name(a) == daemon.midi_api):
            out: Any = rtmidi.MidiOut(api, name="specdiffd demo")
            found = [k for k, name in enumerate(out.get_ports()) if config.midi.client_name in name]
            if found:
                out.open_port(found[0], "out")
                try:
                    yield out.send_message, f"the MIDI port {out.get_ports()[found[0]]} ({daemon.midi_api})"
                finally:
                    out.close_port()
                    out.delete()
                return
    with ControlClient(daemon.endpoint) as client:

        def send(message: list[int]) -> None:
            client.call("midi", **dict(zip(("status", "data1", "data2"), message, strict=False)))

        yield send, f"the control socket {daemon.endpoint} (no MIDI back end works here)"


def _play(events: list[Timed], send: Send, stop: threading.Event, progress: Callable[[float, float], None]) -> None:
    end_s, started_s = events[-1][0], time.monotonic()
    for at_s, message in [*events, (end_s + TAIL_S, [])]:
        while not stop.is_set() and (wait_s := started_s + at_s - time.monotonic()) > 0:
            stop.wait(min(wait_s, 0.2))
            progress(min(end_s, time.monotonic() - started_s), end_s)
        if stop.is_set():
            return
        if message:
            send(message)


@contextmanager
def recorded(played: PlayedRing, sample_rate_hz: int, path: Path) -> Iterator[None]:
    """A context that writes everything that is played to a WAV file.

    Raises:
        SpecdiffdError: the file cannot be written. It is raised at the end, and keeps what has been written.
    """
    import soundfile

    stop = threading.Event()
    problems: list[str] = []

    def run() -> None:
        count = played.count
        try:
            with soundfile.SoundFile(os.fsencode(path), "w", sample_rate_hz, 2, "PCM_16", format="WAV") as file:
                while not stop.wait(0.2):
                    audio, count = played.since(count)
                    file.write(audio)
        except (OSError, RuntimeError) as error:
            problems.append(f"cannot write {path}: {error}")

    thread = threading.Thread(target=run, name="recorder")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if problems:
        raise SpecdiffdError(problems[0])


def draw_spectrogram(recording: Path, picture: Path) -> Path:
    """Write a PNG of the recording's spectrogram up to 16 kHz; returns its path.

    Raises:
        DeviceError: matplotlib is not installed.
    """
    import soundfile

    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise DeviceError(f"the picture needs matplotlib ({error}): pip install 'specdiffd[demo]'") from error
    audio, rate = soundfile.read(os.fsencode(recording), dtype="float32", always_2d=True)
    figure, axis = plt.subplots(figsize=(16, 5), layout="constrained")
    dither = np.random.default_rng(0).normal(0, 1e-7, len(audio))  # complete silence has no level in dB
    axis.specgram(audio.mean(1) + dither, NFFT=2048, noverlap=1024, Fs=rate, vmin=-140, vmax=-40, cmap="magma")
    axis.set(xlabel="seconds", ylabel="Hz", ylim=(0, 16000), title="what was heard")
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    return picture
