"""The HTTP edge: what the wire says becomes commands, and replies become answers."""
