"""``edgewright demo``: a whole fleet on this machine, on the project's own model and generated data."""
