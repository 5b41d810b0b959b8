"""The built-in instrument, as package data."""
