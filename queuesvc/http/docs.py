"""The API as one page for people: made from the OpenAPI document, whole in itself, without scripts."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from typing import Any, Final

from queuesvc.http.openapi import EXAMPLE

Object = Mapping[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --quiet: #666; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main, nav { max-width: 60rem; margin: 0 auto; padding: 1rem; }
nav .contents { columns: 18rem; }
nav .contents div { break-inside: avoid; padding-bottom: 1rem; }
nav .contents h2 { border: 0; font-size: 1rem; margin: 0; }
nav .contents ul { list-style: none; margin: 0; padding: 0; }
a { color: inherit; }
h1 { margin-bottom: 0; }
h2 { margin-top: 3rem; border-bottom: 2px solid var(--line); }
h3 { margin-top: 2.5rem; font-weight: 600; }
h4 { margin: 1rem 0 .25rem; font-weight: 600; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; background: var(--soft); border-radius: 4px; }
code { padding: .1em .3em; overflow-wrap: anywhere; }
pre { padding: .75rem; white-space: pre-wrap; }
pre code { background: none; padding: 0; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
td:first-child { white-space: nowrap; }
td:nth-child(n+3) { min-width: 10rem; }
td code { overflow-wrap: normal; }
b.method { display: inline-block; min-width: 4.5rem; }
.quiet { color: var(--quiet); }
"""
STYLE_HASH: Final = f"sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}"
"""The style as a browser knows it by its Content-Security-Policy."""


def make_page(document: Object) -> str:
    """The page, as HTML."""
    info = document["info"]
    operations = [
        (path, method.upper(), operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    sections, contents = [], []
    for tag in (one["name"] for one in document["tags"]):
        members = [one for one in operations if tag in one[2]["tags"]]
        entries = "".join(_entry(*one) for one in members)
        contents.append(f"<div><h2>{escape(tag)}</h2><ul>{entries}</ul></div>")
        sections.append(f"<section><h2>{escape(tag)}</h2>{''.join(_operation(document, *one) for one in members)}")
        sections.append("</section>")
    schemas = document["components"]["schemas"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: the API</title><style>{_STYLE}</style></head><body>"
        f"<nav><h1>{escape(info['title'])}</h1>"
        f'<p class="quiet">{escape(info["summary"])}, version {escape(info["version"])}. '
        f'The same for machines: <a href="openapi.json">openapi.json</a></p>'
        f'{_prose(info["description"])}<div class="contents">{"".join(contents)}</div></nav>'
        f"<main>{''.join(sections)}<section><h2>Documents</h2>"
        f"{''.join(_schema(document, name, schema) for name, schema in schemas.items())}</section></main></body></html>"
    )


def _entry(path: str, method: str, operation: Object) -> str:
    return (
        f'<li><a href="#{escape(operation["operationId"])}" title="{escape(f"{method} {path}")}">'
        f"{escape(operation['summary'])}</a></li>"
    )


def _operation(document: Object, path: str, method: str, operation: Object) -> str:
    pieces = [
        f'<article id="{escape(operation["operationId"])}"><h3>{escape(operation["summary"])}</h3>'
        f'<p><b class="method">{method}</b> <code>{escape(path)}</code></p>'
    ]
    if "description" in operation:
        pieces.append(_prose(operation["description"]))
    pieces += [f"<pre><code>{escape(example['source'])}</code></pre>" for example in operation[EXAMPLE]]
    parameters = operation.get("parameters", ())
    if parameters:
        rows = [
            (
                f"<code>{escape(one['name'])}</code>",
                one["in"],
                _kind(document, one["schema"]),
                _inline(one["description"]),
            )
            for one in parameters
        ]
        pieces.append(f"<h4>Parameters</h4>{_table(rows)}")
    body = operation.get("requestBody")
    if body is not None:
        optional = "" if body["required"] else ", optional"
        pieces.append(
            f"<h4>Body</h4><p>{_inline(body['description'])}{optional}: {_media(document, body['content'])}</p>"
        )
    answers = [
        (f"<code>{status}</code>", _inline(answer["description"]), _media(document, answer.get("content", {})))
        for status, answer in operation["responses"].items()
    ]
    pieces.append(f"<h4>Answers</h4>{_table(answers)}</article>")
    return "".join(pieces)


def _schema(document: Object, name: str, schema: Object) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(field)}</code>{' *' if field in required else ''}",
            _kind(document, about),
            _inline(about.get("description", "")),
        )
        for field, about in schema.get("properties", {}).items()
    ]
    if not rows:
        rows = [(_kind(document, schema), "", "")]
    about = _inline(schema.get("description", ""))
    return f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3><p>{about}</p>{_table(rows)}</article>'


def _media(document: Object, content: Object) -> str:
    return ", ".join(
        f"{_kind(document, media['schema'])} <code>{escape(kind)}</code>" for kind, media in content.items()
    )


def _kind(document: Object, schema: Object) -> str:
    """What values a schema allows, in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        words = " or ".join(_kind(document, one) for one in schema["anyOf"])
    elif "enum" in schema:
        words = " or ".join(f"<code>{escape(_value(one))}</code>" for one in schema["enum"])
    elif schema.get("type") == "array":
        words = f"list of {_kind(document, schema['items'])}"
    else:
        words = escape(str(schema.get("type", "bytes" if not schema else "any value")))
        if "minimum" in schema or "maximum" in schema:
            words += f", {_range(schema)}"
    if schema.get("default") not in (None, ""):
        words += f', <span class="quiet">default <code>{escape(_value(schema["default"]))}</code></span>'
    return words


def _range(schema: Object) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is None:
        return f"at least {least:,}"
    return f"at most {most:,}" if least is None else f"{least:,} to {most:,}"


def _value(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table>{lines}</table></div>'


def _prose(text: str) -> str:
    """Paragraphs and lists, as the descriptions are written."""
    blocks = []
    for block in re.split(r"\n\n+", text.strip()):
        if block.startswith("- "):
            items = re.split(r"\n- ", block[2:])
            blocks.append(f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>")
        else:
            blocks.append(f"<p>{_inline(block)}</p>")
    return "".join(blocks)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
