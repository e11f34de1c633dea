"""One file per backend, found by looking here; the file's name is the backend's name on the wire and on the command line."""
