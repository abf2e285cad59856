"""Killed, again and again: what the clients were told must hold.

`roles` are clients that do all there is to do, at once, on the queues of `topology`; each call of theirs (`client`) is
noted in a `history`. `campaign` kills the broker meanwhile, in the ways of `kills` (one takes its `disk`'s power),
and starts it again. In the end all is taken out, and `checker` holds what was promised against the history, put
together by messages in `book`, and against the queues' `counters`.
"""
