"""The proof: a naive reference model, and random histories that hold every store against it."""
