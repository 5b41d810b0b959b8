"""The networks, their schedules and samplers, and their checkpoints."""
