"""Signal processing around the networks: mel front end, resampling, splicing, a room."""
