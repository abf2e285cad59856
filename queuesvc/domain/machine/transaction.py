"""Transactions: acks, nacks and publishes, all of them or none."""

from collections.abc import Iterable

from queuesvc.domain.commands import Ack, Nack, Transaction
from queuesvc.domain.errors import Refused, invalid
from queuesvc.domain.machine import idempotency
from queuesvc.domain.machine.delivery import ack_all, find, nack_all
from queuesvc.domain.machine.publishing import plan, record, store
from queuesvc.domain.machine.queue import Queue, milliseconds
from queuesvc.domain.machine.state import State
from queuesvc.domain.messages import Message
from queuesvc.domain.replies import Transacted

WINDOW_MS = milliseconds(idempotency.TRANSACTION_WINDOW_SECONDS)


def transact(state: State, command: Transaction) -> Transacted:
    """Look at everything first; only if all of it can be done, do it."""
    if not command.idempotency_key:
        return _transact(state, command)
    print_ = idempotency.fingerprint(idempotency.transaction_parts(command))
    answer = state.records.find(idempotency.TRANSACTIONS, command.idempotency_key, print_, state.now)
    if answer is not None:
        return idempotency.read_transacted(answer)
    transacted = _transact(state, command)
    kept = idempotency.transacted_answer(transacted)
    record(state, idempotency.TRANSACTIONS, command.idempotency_key, print_, kept, WINDOW_MS)
    return transacted


def _transact(state: State, command: Transaction) -> Transacted:
    _refuse_twice((*command.acks, *command.nacks))
    acks = [(ack, *_settling(state, ack)) for ack in command.acks]
    nacks = [(nack, *_settling(state, nack)) for nack in command.nacks]
    planned = plan(state, command.publishes, indexed=True)
    for _, queue, messages in acks:
        ack_all(state, queue, messages)
    for nack, queue, messages in nacks:
        nack_all(state, queue, messages, nack)
    published = store(state, command.publishes, planned)
    return Transacted(
        sum(len(messages) for _, _, messages in acks), sum(len(messages) for _, _, messages in nacks), published
    )


def _refuse_twice(settles: Iterable[Ack | Nack]) -> None:
    """A receipt in two parts of a transaction cannot mean anything."""
    seen: set[str] = set()
    for settle in settles:
        for receipt in dict.fromkeys(settle.receipts):
            if receipt in seen:
                raise invalid("receipts", "must not stand in two parts of the transaction", receipt=receipt)
            seen.add(receipt)


def _settling(state: State, command: Ack | Nack) -> tuple[Queue, list[Message]]:
    queue = state.queue(command.queue)
    messages, failed = find(state, queue, command.receipts)
    if failed:
        receipt, code = failed[0]
        why = "its message is gone" if code == "gone" else "its lease was lost"
        raise Refused(code, f"a receipt does not settle: {why}", receipt=receipt, queue=command.queue)
    return queue, messages
