"""The supervisor: it starts, watches and replaces the other processes."""
