"""What a MIDI channel remembers between messages: program, controllers, bend, registered parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from specdiffd.base.events import Note
from specdiffd.base.messages import CONTROLLERS, DATA, DEFAULTS, NRPN, NRPN_FINE, PEDAL_DOWN, RPN, SUSTAIN

CENTRE = 8192  # of 14 bits
BEND_RANGE, FINE_TUNING, COARSE_TUNING = (0, 0), (0, 1), (0, 2)  # registered parameters: controllers 101 and 100
NO_PARAMETER = (127, 127)  # RPN null: data entry goes nowhere


@dataclass(slots=True)
class Channel:
    """One channel. The defaults are its state after power-up and after a reset."""

    program: int = 0
    values: dict[int, int] = field(default_factory=lambda: dict(DEFAULTS))  # of the controllers in the table, by number
    bend: int = CENTRE
    bend_range_semitones: float = 2.0
    tuning_semitones: float = 0.0
    transposition_semitones: int = 0
    parameter: tuple[int, int] | None = None  # the registered parameter that data entry goes to
    selected: tuple[int, int] = NO_PARAMETER  # the last values of controllers 101 and 100
    data: tuple[int, int] = (0, 0)  # the values of controllers 6 and 38 since the selection
    held: dict[int, Note] = field(default_factory=dict)  # key down
    sustained: dict[int, Note] = field(default_factory=dict)  # key up, pedal down

    @property
    def pedal(self) -> bool:
        """Whether the sustain pedal is down."""
        return self.values[SUSTAIN] >= PEDAL_DOWN

    @property
    def pitch_semitones(self) -> float:
        """How far notes are from the pitch of their keys: bend, tuning and transposition."""
        bent = (self.bend - CENTRE) / CENTRE * self.bend_range_semitones
        return bent + self.tuning_semitones + self.transposition_semitones

    def release(self, note: Note) -> None:
        """Its key and the pedal no longer hold a note."""
        for notes in (self.held, self.sustained):
            if notes.get(note.pitch) is note:
                del notes[note.pitch]

    def select(self, control: int, value: int) -> None:
        """Select a registered parameter (controllers 100 and 101); 98 and 99 select a non-registered one, which takes no data here."""
        self.data = (0, 0)
        if control in (NRPN_FINE, NRPN):
            self.parameter = None
            return
        self.selected = (value, self.selected[1]) if control == RPN else (self.selected[0], value)
        self.parameter = self.selected

    def enter(self, control: int, value: int) -> None:
        """Enter data (controllers 6 and 38) for the selected parameter."""
        self.data = (value, self.data[1]) if control == DATA else (self.data[0], value)
        coarse, fine = self.data
        if self.parameter == BEND_RANGE:
            self.bend_range_semitones = coarse + min(fine, 99) / 100
        elif self.parameter == FINE_TUNING:
            self.tuning_semitones = ((coarse << 7 | fine) - CENTRE) / CENTRE
        elif self.parameter == COARSE_TUNING:
            self.transposition_semitones = coarse - 64

    def reset_controllers(self) -> None:
        """Reset all controllers (121) as RP-015 defines it: volume, reverberation, program, bend range and tuning stay."""
        self.bend, self.parameter, self.selected = CENTRE, None, NO_PARAMETER
        self.values |= {row.number: row.default for row in CONTROLLERS.values() if row.reset}
