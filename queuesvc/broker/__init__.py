"""The running broker: clock, group commit, waiting receives, timers, the verbs."""
