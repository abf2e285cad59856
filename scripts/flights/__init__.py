"""A month of flights through the broker, counted exactly. `scripts/flights_demo` runs it."""
