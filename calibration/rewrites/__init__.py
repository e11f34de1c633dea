"""Exact rewrites of a finished model that a runtime's own optimiser misses; one file each. What is written computes the same, code for code."""
