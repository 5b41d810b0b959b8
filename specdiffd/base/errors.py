"""All errors that a user can meet, in one tree, each with its exit code."""


class SpecdiffdError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user. Exit code 1."""

    exit_code = 1


class ConfigError(SpecdiffdError):
    """A configuration key or value is wrong. Exit code 2."""

    exit_code = 2


class UsageError(SpecdiffdError):
    """A command was called with arguments it cannot take. Exit code 2."""

    exit_code = 2


class MidiFileError(SpecdiffdError):
    """A MIDI file cannot be read; the text names file, track and byte where known. Exit code 1."""


class CheckpointError(SpecdiffdError):
    """A checkpoint is missing, damaged or does not fit; the text names file, key and shapes. Exit code 3."""

    exit_code = 3


class DeviceError(SpecdiffdError):
    """No usable audio device, MIDI back end or accelerator. Exit code 3."""

    exit_code = 3


class Interrupted(SpecdiffdError):
    """Training was stopped before its time was used; it can be resumed. Exit code 1."""


class ControlError(SpecdiffdError):
    """The control plane refused or could not carry out a request. Exit code 1.

    Attributes:
        code: of the protocol, for programs.
        request_id: of the request, if it could be read.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.request_id: str | int | None = None
