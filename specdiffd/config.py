"""The daemon's configuration: one frozen value, checked whole before anything starts."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from specdiffd.errors import ConfigError
from specdiffd.folders import expanded


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
    seed: Annotated[int, Meta(ge=0)] = 0


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
    """What is said on standard error."""

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
    """The user's own file, $XDG_CONFIG_HOME/specdiffd/config.yaml, if there is one."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else expanded("~/.config")
    path = folder / "specdiffd" / "config.yaml"
    return path if os.path.exists(path) else None  # a home that cannot be looked into has none


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Configuration from a YAML file (None: defaults) and ``section.key=value`` overrides.

    Raises:
        ConfigError: naming the key, the nearest valid one, and what would be right.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        raw = _read_yaml(path)
    for override in overrides:
        _override(raw, override)
    return check_config(raw, str(path) if path else "configuration")


def check_config(raw: dict[str, Any], source: str) -> Config:
    """A mapping as a :class:`Config`.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    for section, values in raw.items():
        _known(section, Config.__struct_fields__, f"{source}: unknown section")
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: section {section} should hold keys, found {values!r}")
        for key in values:
            _known(key, getattr(Config(), section).__struct_fields__, f"{source}: unknown key {section}.", joined=True)
    try:
        config = msgspec.convert({k: v for k, v in raw.items() if v is not None}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_readable(str(error))}") from error
    if 256 % config.engine.hop_frames:
        raise ConfigError(f"{source}: engine.hop_frames {config.engine.hop_frames} must divide a window of 256 frames (128, 64, 32 ...)")
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} not found") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections with keys, found {type(raw).__name__}")
    return raw


def _override(raw: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"override {text!r}: expected section.key=value, for example audio.device=jack")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {text!r}: {error}") from error
    values = raw.setdefault(section, {})
    if values is None:
        values = raw[section] = {}
    if not isinstance(values, dict):
        raise ConfigError(f"override {text!r}: section {section} should hold keys, found {values!r}")
    values[key] = parsed


def _known(name: object, valid: Sequence[str], problem: str, joined: bool = False) -> None:
    if name in valid:
        return
    near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(valid)}"
    raise ConfigError(f"{problem}{'' if joined else ' '}{name}; {hint}")


def _readable(message: str) -> str:
    """msgspec's message with the path in front: "Expected `int` ... - at `$.audio.channels`"."""
    text, _, path = message.partition(" - at `$.")
    return f"{path.rstrip('`')}: {text}" if path else text


def runtime_directory() -> Path:
    """Where sockets live: $XDG_RUNTIME_DIR/specdiffd, or one of the user's own under the temporary directory."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "specdiffd"
    return Path(os.environ.get("TMPDIR", "/tmp")) / f"specdiffd-{os.getuid()}"
