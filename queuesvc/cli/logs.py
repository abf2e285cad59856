"""What the broker says while it runs: plain lines for a person, JSON lines for a machine, on stderr."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from queuesvc.settings import LogLevel


def set_up_logs(level: LogLevel, stream: TextIO | None = None) -> None:
    """Send the log to `stream` (default: stderr), one line an event; tracebacks are part of it."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainLines() if stream.isatty() else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn tells at length of things that the start-up line says already.
    logging.getLogger("uvicorn").setLevel("DEBUG" if level == "debug" else "WARNING")


class PlainLines(logging.Formatter):
    """`13:08:00 warning: text`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        text = f"{datetime.now():%H:%M:%S} {record.levelname.lower()}: {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonLines(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ...}`, with `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in the message."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
