"""Where the broker's state lives: one interface, several stores under the same suite."""
