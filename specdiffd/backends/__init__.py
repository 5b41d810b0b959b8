"""How a network is run: as it is, or as graphs of OpenVINO."""
