"""The client at the other end of a connection: whether it is still there, and whether it reads."""

import fcntl
import socket
import struct
import termios
from typing import Any, Final

TCP_ESTABLISHED: Final = b"\x01"


def is_gone(transport: Any, flow: Any) -> bool:
    """Whether nothing written now would leave: the client has ended the connection, or broken it.

    One that is read from tells so itself. Of one that has sent more than we care to read now we ask the system, where
    it can say (Linux).
    """
    if transport.is_closing():
        return True
    if not flow.read_paused or not hasattr(socket, "TCP_INFO"):
        return False
    state: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state != TCP_ESTABLISHED


def unread_bytes(transport: Any) -> int:
    """How much of what was written to it the client's system has not taken: in our buffer, and in our system's."""
    size: int = transport.get_write_buffer_size()
    try:
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError, AttributeError):
        # A connection that is over: its socket is closed or, with TLS, not there any more. Or a system does not tell.
        return size
    return size + int(struct.unpack("i", queued)[0])
