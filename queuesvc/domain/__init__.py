"""The rules of the broker: standard library only, no I/O, no clock, no asyncio."""
