"""Where a message goes: a table of bindings for each exchange type, and the router over them."""
