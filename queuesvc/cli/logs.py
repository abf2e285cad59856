"""What the broker says while it runs: plain lines for a person, JSON lines for a machine, on stderr.

Names, routing keys and request ids come from clients, so nothing that is written here can begin a line of its own, move
a cursor or turn the text around: what is not printable is escaped.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from queuesvc.settings import LogFormat, LogLevel


def set_up_logs(level: LogLevel, form: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send the log to `stream` (default: stderr), one line an event; tracebacks are part of it."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    plain = stream.isatty() if form == "auto" else form == "text"
    handler.setFormatter(PlainLines() if plain else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn tells at length of things that the start-up line says already.
    logging.getLogger("uvicorn").setLevel("DEBUG" if level == "debug" else "WARNING")
    # It would tell of each statement with its parameters: the bodies of messages.
    logging.getLogger("aiosqlite").setLevel("WARNING")
    logging.getLogger("queuesvc.audit").setLevel("INFO")


class PlainLines(logging.Formatter):
    """`13:08:00 warning: text`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one, moved in."""
        lines = [f"{datetime.now():%H:%M:%S} {record.levelname.lower()}: {printable(record.getMessage())}"]
        if record.exc_info:
            lines += [f"    {printable(line)}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ...}`, with `traceback` where there is one.

    A record's `fields` stand beside these.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII, whatever is in the message."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def printable(text: str) -> str:
    """The text with all that is not printable escaped, as Python writes it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)
