"""The blocks that students are made of: one module is one block, its name is its word in a spec; see `_base`."""
