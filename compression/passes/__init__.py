"""One file per compression pass, found by looking here."""
