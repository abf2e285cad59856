"""The machine: what the broker is while it runs.

It knows every message of every queue, but no bodies: which are ready, which are
leased until when, delayed, dead, and the counters. It takes commands
(`domain.commands`) at a moment and answers with replies (`domain.replies`) and
effects (`domain.effects`), the rows that a store must write before the replies
may leave. It does no I/O, looks at no clock and draws no random numbers: the same
commands at the same moments always give the same. At start a store builds it again from its
rows (`machine.restore`).

A message and its states, and what moves it:

    from      by                          to        counted     row
    --------  --------------------------  --------  ----------  -------------------------
    -         publish                     ready     published   inserted
    -         publish with a delay        delayed   published   inserted
    delayed   its moment comes            ready                 (the row says when)
    ready     receive                     leased    delivered   one lease row a receive
    ready     receive with auto_ack       -         acked       deleted
    leased    ack                         -         acked       deleted
    leased    nack                        ready     nacked      changed: lease ended
    leased    nack with a delay           delayed   nacked      changed
    leased    nack, requeue false         dead      nacked      changed: parked
    leased    nack, limit reached         dead      nacked      changed: parked
    leased    the lease runs out          ready     -           changed: ran out
    leased    ... with a backoff          delayed   -           changed: ran out
    leased    ... limit reached           dead      -           changed: parked
    leased    its answer went nowhere     ready     delivered-1 changed
    ran out   ack, nack, extend           as from leased: the receipt settles until the
                                          message is leased again

Two rules keep receipts honest. A lease's number is never used twice, and a
message is leased only by the newest lease that names it: so a row needs no
writing when a message is handed out, and an older receipt can never match.
"""

from queuesvc.domain.machine.machine import Machine

__all__ = ["Machine"]
