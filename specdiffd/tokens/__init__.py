"""A window of the score as token ids."""
