"""One suite for every store: what the contract promises, in plain code."""
