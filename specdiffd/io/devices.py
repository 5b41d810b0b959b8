"""Audio devices: found by name, host API or index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from specdiffd.base.errors import DeviceError

HOST_APIS = {
    "alsa": "ALSA",
    "jack": "JACK Audio Connection Kit",
    "pulse": "PulseAudio",
    "coreaudio": "Core Audio",
    "wasapi": "Windows WASAPI",
    "oss": "OSS",
}


@contextmanager
def look_again(again: bool) -> Iterator[None]:
    """PortAudio knows the devices that were there when it began. Within, and if ``again``, it has begun anew, and its libraries say nothing.

    Who waits for a device for days would fill the log with what they say of each that is not there.
    """
    if not again:
        yield
        return
    said, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        sd = import_sounddevice()
        sd._terminate()
        sd._initialize()
        yield
    finally:
        os.dup2(said, 2)
        os.close(said)
        os.close(nowhere)


def import_sounddevice() -> Any:
    """The sounddevice module; importing it starts PortAudio.

    Raises:
        DeviceError: PortAudio is not installed.
    """
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(f"PortAudio is not installed ({error}): apt-get install libportaudio2") from error
    return sounddevice


def find_device(sd: Any, wanted: str | int | None) -> int:
    """Index of an output device by index, part of its name, host API name, or ``default``.

    Raises:
        DeviceError: none fits; the text lists what is there.
    """
    devices = [(k, d) for k, d in enumerate(sd.query_devices()) if d["max_output_channels"] > 0]
    apis = sd.query_hostapis()
    there = ", ".join(f"{k}: {d['name']} ({apis[d['hostapi']]['name']})" for k, d in devices) or "none"
    if isinstance(wanted, int):
        if any(k == wanted for k, _ in devices):
            return wanted
        raise DeviceError(f"audio.device {wanted} is no output device; there: {there}")
    if wanted == "default":
        for index in (sd.default.device[1], *(api["default_output_device"] for api in apis)):
            if index is not None and index >= 0:
                return int(index)
    wanted = str(wanted)
    for api in apis:
        if wanted.lower() in HOST_APIS and api["name"] == HOST_APIS[wanted.lower()] and api["default_output_device"] >= 0:
            return int(api["default_output_device"])
    for k, d in devices:
        if wanted.lower() in d["name"].lower():
            return k
    raise DeviceError(f"no audio device {wanted!r}; there: {there} (wav:PATH writes a file, null plays to nobody)")


def list_devices() -> list[dict[str, Any]]:
    """Output devices: index, name, host API, channels, default rate."""
    sd = import_sounddevice()
    apis = sd.query_hostapis()
    return [
        {
            "index": k,
            "name": d["name"],
            "host_api": apis[d["hostapi"]]["name"],
            "channels": d["max_output_channels"],
            "sample_rate_hz": d["default_samplerate"],
        }
        for k, d in enumerate(sd.query_devices())
        if d["max_output_channels"] > 0
    ]
