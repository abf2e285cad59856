"""What stands behind `scripts/bench --curves`: how rates, latencies and memory change with what there is of a thing."""
