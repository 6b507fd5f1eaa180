"""Faults and load against a real server: each scenario breaks something, measures, and says what it saw."""
