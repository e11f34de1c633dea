"""The losses: one module is one loss, its name is its word on the command line; see `_base`."""
