"""The daemon's configuration: one frozen value, checked whole before anything starts."""

from __future__ import annotations

import difflib
import os
import reprlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from specdiffd.base.errors import ConfigError
from specdiffd.base.folders import expanded
from specdiffd.base.text import clipped, printable, told
from specdiffd.base.yaml_files import parse_yaml, read_yaml

MAX_SEED = 2**63 - 1  # torch refuses larger ones
NAME_CHARACTERS = 60  # of an unknown key in an error; with more, the nearest valid key would be cut off behind it


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of keys; unknown ones are refused."""


class InstrumentConfig(Section, frozen=True):
    """Which instrument, and how it is sampled."""

    name: str = "builtin"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    scheduler: str = "default"
    steps: Annotated[int, Meta(ge=1, le=1000)] | Literal["default"] = "default"
    guidance: Annotated[float, Meta(ge=0, le=20)] | Literal["default"] = "default"
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0


class MidiConfig(Section, frozen=True):
    """Where notes come from."""

    api: Literal["auto", "jack", "alsa", "coreaudio", "winmm", "none"] = "auto"
    client_name: Annotated[str, Meta(min_length=1, max_length=60)] = "specdiffd"
    virtual_port: bool = True
    connect: tuple[str, ...] = ()


class AudioConfig(Section, frozen=True):
    """Where sound goes."""

    device: str | int | None = "default"  # YAML reads a bare null as None; both mean no device
    sample_rate_hz: Annotated[int, Meta(ge=8000, le=192000)] | Literal["auto"] = "auto"
    block_size: Annotated[int, Meta(ge=16, le=8192)] = 256
    channels: Annotated[int, Meta(ge=1, le=64)] = 2
    gain_db: Annotated[float, Meta(ge=-96, le=24)] = 0.0
    limiter: bool = True
    reverb: Annotated[float, Meta(ge=0, le=1)] = 0.0


class EngineConfig(Section, frozen=True):
    """How the forecast is kept."""

    mode: Literal["live", "sequencer"] = "live"
    render_delay_ms: Annotated[float, Meta(gt=0, le=2000)] | Literal["auto"] = "auto"
    forecast_s: Annotated[float, Meta(ge=0.5, le=8)] = 2.0
    crossfade_ms: Annotated[float, Meta(ge=0.5, le=100)] = 3.0
    hop_frames: Annotated[int, Meta(ge=1, le=256)] = 128
    parts: Annotated[int, Meta(ge=1, le=16)] | Literal["auto"] = "auto"
    standby: bool = True


class ControlConfig(Section, frozen=True):
    """The ZMQ control plane."""

    endpoint: str = "auto"
    publish: str = "auto"
    curve_keys: str | None = None


class LoggingConfig(Section, frozen=True):
    """What is logged to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section, frozen=True):
    """The whole configuration; sections and keys as in config.yaml."""

    instrument: InstrumentConfig = InstrumentConfig()
    midi: MidiConfig = MidiConfig()
    audio: AudioConfig = AudioConfig()
    engine: EngineConfig = EngineConfig()
    control: ControlConfig = ControlConfig()
    logging: LoggingConfig = LoggingConfig()


def user_config() -> Path | None:
    """The user's file, $XDG_CONFIG_HOME/specdiffd/config.yaml, if there is one.

    Raises:
        ConfigError: the system does not say whether there is one.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else expanded("~/.config")
    path = folder / "specdiffd" / "config.yaml"
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return path


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Configuration from a YAML file (None: defaults) and ``section.key=value`` overrides.

    Raises:
        ConfigError: a section, a key or a value is wrong; the text names the key, and the nearest valid key or what is expected.
    """
    raw = {} if path is None else read_yaml(path)
    for override in overrides:
        _override(raw, override)
    return check_config(raw, str(path) if path else "configuration")


def check_config(raw: dict[str, Any], source: str) -> Config:
    """A mapping of sections as a configuration.

    Args:
        source: what errors begin with.

    Raises:
        ConfigError: a section, a key or a value is wrong; the text names the key, and the nearest valid key or what is expected.
    """
    for section, values in raw.items():
        _check_name(section, Config.__struct_fields__, f"{source}: unknown section")
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: section {section} should hold keys, found {_abbreviated(values)}")
        for key in values:
            _check_name(key, getattr(Config(), section).__struct_fields__, f"{source}: unknown key {section}.", joined=True)
    try:
        config = msgspec.convert({k: v for k, v in raw.items() if v is not None}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_readable(told(error))}") from error
    _check_texts(config, source)
    _check_values(config, source)
    return config


def _check_values(config: Config, source: str) -> None:
    """Check what the types cannot express."""
    if 256 % config.engine.hop_frames:
        raise ConfigError(f"{source}: engine.hop_frames {config.engine.hop_frames} must divide a window of 256 frames (128, 64, 32 ...)")
    if config.control.curve_keys is not None:
        given = _abbreviated(config.control.curve_keys)
        raise ConfigError(f"{source}: control.curve_keys {given}: encrypted connections are not there yet, expected null")


def _check_texts(config: Config, source: str) -> None:
    """Refuse control characters and lone surrogates in texts: replies, logs and other libraries cannot take them."""
    for section in config.__struct_fields__:
        values = getattr(config, section)
        for key in values.__struct_fields__:
            value = getattr(values, key)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
                    raise ConfigError(f"{source}: {section}.{key} {_abbreviated(text)}: expected text without control characters")


def _override(raw: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    source = f"override {_abbreviated(text)}"
    if not (equals and dot and key):
        raise ConfigError(f"{source}: expected section.key=value, for example audio.device=jack")
    parsed = parse_yaml(value, source)
    values = raw.setdefault(section, {})
    if values is None:
        values = raw[section] = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: section {section} should hold keys, found {_abbreviated(values)}")
    values[key] = parsed


def _abbreviated(value: object) -> str:
    """A value as text of bounded length: with YAML's aliases a few lines become a structure of any size."""
    short = reprlib.Repr()
    short.maxlevel, short.maxlist, short.maxdict, short.maxset, short.maxtuple = 2, 4, 4, 4, 4
    short.maxstring = short.maxother = 100
    return short.repr(value)


def _check_name(name: object, valid: Sequence[str], problem: str, joined: bool = False) -> None:
    if name in valid:
        return
    given = printable(clipped(str(name), NAME_CHARACTERS))
    near = difflib.get_close_matches(given, valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(valid)}"
    raise ConfigError(f"{problem}{'' if joined else ' '}{given}; {hint}")


def _readable(message: str) -> str:
    """msgspec's message with the path in front: "Expected `int` ... - at `$.audio.channels`"."""
    text, _, path = message.partition(" - at `$.")
    return f"{path.rstrip('`')}: {text}" if path else text
