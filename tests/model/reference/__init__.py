"""A broker in lists and loops: slow, and plain enough to be checked against the contract by eye.

It takes the commands that a store takes and answers with the same replies. It was
written from the contract and the interfaces, apart from the machine; the random
histories (`tests.model.test_histories`) hold every store against it.
"""

from tests.model.reference.model import Model

__all__ = ["Model"]
