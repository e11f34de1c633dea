"""Faults on purpose: what the reliability benchmark, and the tests, do to an agent."""
