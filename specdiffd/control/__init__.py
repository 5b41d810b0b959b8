"""The control plane: requests and telemetry over ZMQ."""
