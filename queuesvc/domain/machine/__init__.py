"""The machine: what the broker is while it runs.

It knows every message of every queue, but no bodies: which are ready, which are
leased until when, delayed, dead, and the counters. It takes commands
(`domain.commands`) at a moment and answers with replies (`domain.replies`) and
effects (`domain.effects`), the rows that a store must write before the replies
may leave. It does no I/O, looks at no clock and draws no random numbers: the same
commands at the same moments always give the same. At start a store builds it again from its
rows (`machine.restore`).

A message and its states, and what moves it:

    from      by                          to        counted       row
    --------  --------------------------  --------  ------------  -------------------------
    -         publish                     ready     published     inserted
    -         publish with a delay        delayed   published     inserted
    -         dead-lettered into, redriven
              into                        ready     moved_in      inserted
    delayed   its moment comes            ready                   (the row says when)
    ready     receive                     leased    delivered     one lease row a receive
    ready     receive with auto_ack       -         acked         deleted
    leased    ack                         -         acked         deleted
    leased    nack                        ready     nacked        changed: lease ended
    leased    nack with a delay           delayed   nacked        changed
    leased    nack, requeue false         dies      nacked        rejected
    leased    nack, limit reached         dies      nacked        delivery_limit
    leased    the lease runs out          ready                   changed: ran out
    leased    ... with a backoff          delayed                 changed: ran out
    leased    ... limit reached           dies                    delivery_limit
    leased    release, or one before it
              in its group is given back  ready                   changed
    leased    its answer went nowhere     ready     delivered -1  changed
    ran out   ack, nack, extend           as from leased: the receipt settles until the
                                          message is leased again
    ready, delayed, or given back:
              its time to live is over    leaves                  expired
    ready     it is the oldest of a queue
              that is too full            leaves                  maxlen
    leaves    no dead-letter exchange     -         expired,      deleted
                                                    dropped
              else it dies
    dies      the dead-letter exchange
              reaches queues              -         dead_lettered deleted here, inserted there
                                                    moved_out
              else                        dead                    changed: parked
    dead      redrive                     -         (moved_out)   deleted here, inserted at the tail
    any       purge, remove               -         purged        deleted, or reclaimed bit by bit

Where each is written: `publishing`, `delivery` (receive, settle, leases and delays that end),
`death` (dead-lettering, parking), `repair` (purge, redrive, release), `topology`; what several of
them need stands in `state`, and how ready messages are kept in order in `domain.ready`.

Two rules keep receipts honest. A lease's number is never used twice, and a
message is leased only by the newest lease that names it: so a row needs no
writing when a message is handed out, and an older receipt can never match.

A group goes on only with its head: its other messages are ready, and counted so, but not on offer, and
while one of the group is leased or delayed by a give-back none is. So a blocked group costs a receive nothing.
"""
