"""Behind `scripts/soak`: mixed load for as long as one likes, and what becomes of the broker's memory and files."""
