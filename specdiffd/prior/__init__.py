"""The note prior: a mel spectrum for each note, summed over the notes."""
