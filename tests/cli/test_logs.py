"""What a log line looks like: to a person, and to a machine."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from queuesvc.cli.logs import JsonLines, PlainLines, set_up_logs
from queuesvc.settings import LogFormat


def record(with_error: bool = False) -> logging.LogRecord:
    """A warning whose text has a line break and a quote in it."""
    error = None
    if with_error:
        try:
            raise ValueError("no such thing")
        except ValueError:
            error = sys.exc_info()
    return logging.LogRecord("queuesvc.store", logging.WARNING, "x.py", 1, 'disk "%s"\nfull', ("a",), error)


def test_plain_line_for_a_terminal() -> None:
    assert re.fullmatch(r'\d\d:\d\d:\d\d warning: disk "a"\\nfull', PlainLines().format(record()))
    assert PlainLines().format(record(with_error=True)).endswith("ValueError: no such thing")


def test_json_is_one_line_whatever_is_in_it() -> None:
    text = JsonLines().format(record(with_error=True))
    assert "\n" not in text
    line = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("traceback").endswith("ValueError: no such thing")
    assert line == {"level": "warning", "logger": "queuesvc.store", "message": 'disk "a"\nfull'}


NASTY = 'a\r\nb\x1b[2J\x9b\u2028\u202e\x00é\ud800"'


@pytest.mark.parametrize("formatter", [PlainLines(), JsonLines()])
def test_nothing_that_a_client_names_begins_a_line_or_moves_the_cursor(formatter: logging.Formatter) -> None:
    line = logging.LogRecord("queuesvc.audit", logging.INFO, "x.py", 1, "%s", (NASTY,), None)
    line.fields = {"on": {"queue": NASTY}}
    text = formatter.format(line)
    assert text.isprintable()
    if isinstance(formatter, JsonLines):
        assert json.loads(text)["on"] == {"queue": NASTY}


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(("form", "plain"), [("json", False), ("text", True)])
def test_form_may_be_set(root_logger: logging.Logger, form: LogFormat, plain: bool) -> None:
    for stream in (io.StringIO(), Terminal()):
        set_up_logs("warning", form, stream)
        logging.getLogger("queuesvc.test").warning("asked for")
        assert stream.getvalue().endswith(" warning: asked for\n") == plain


def test_audit_lines_are_written_whatever_the_level(root_logger: logging.Logger) -> None:
    set_up_logs("error", stream=(stream := io.StringIO()))
    logging.getLogger("queuesvc.audit").info("done")
    assert json.loads(stream.getvalue())["message"] == "done"


@pytest.mark.parametrize(("stream", "plain"), [(io.StringIO(), False), (Terminal(), True)])
def test_terminal_gets_plain_lines_and_all_others_json(
    root_logger: logging.Logger, stream: io.StringIO, plain: bool
) -> None:
    set_up_logs("warning", stream=stream)
    logging.getLogger("queuesvc.test").info("not asked for")
    logging.getLogger("queuesvc.test").warning("asked for")
    [line] = stream.getvalue().splitlines()
    assert line.endswith(" warning: asked for") if plain else json.loads(line)["message"] == "asked for"
