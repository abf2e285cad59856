"""What stands behind `scripts/bench`: the broker's speed, always beside something run in the same minute."""
