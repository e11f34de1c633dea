"""Shorter ways to a blob: what differs from one that is there (`codec`), and which pieces of it may be there already (`recipe`)."""
