"""How a network is run: by PyTorch as it is, or compiled by OpenVINO."""
