"""What the documents name is there: files, and tests by their names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TESTS = "\n".join(file.read_text() for file in sorted((ROOT / "tests").rglob("*.py")))
FILES = [str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py") if ".venv" not in file.parts]

# Marked as code: `tests/a/test_b.py`, `store/sqlite/wal.py`; `test_something`, or its beginning with dots.
FILE = re.compile(r"`([\w/]+\.py)`")
TEST = re.compile(r"`(test_\w+?)(\.\.\.)?`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    for name in FILE.findall(text):
        assert any(file == name or file.endswith(f"/{name}") for file in FILES), name
    for name, more in TEST.findall(text):
        end = "" if more else "[(]"
        assert re.search(f"^(async )?def {name}{end}", TESTS, re.MULTILINE), name
    for target in LINK.findall(text):
        assert (document.parent / target).exists(), target
