"""The published family of networks: encoders, decoder, noise schedules, samplers."""
