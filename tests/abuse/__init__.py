"""Clients that misbehave, a thousand at a time, beside one that doesn't and is watched."""
