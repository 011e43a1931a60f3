"""What a test needs, for this package's own suite and for yours: servers, clocks, faults, contracts."""
