"""Signal processing without networks."""
