"""A real browser: our page as it is shown, and a page of somebody else's that tries to use the broker.

It needs a Chromium of the system's, and is left out where there is none.
"""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from tests.http.wire import make_queue, stats
from tests.support.server import Server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 60

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]

ALONE = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
"""It asks nobody else for anything."""

EVIL = """<!doctype html><meta charset="utf-8"><title>nice page</title><pre id="result"></pre>
<iframe name="hidden"></iframe><iframe src="BROKER/docs"></iframe><img src="BROKER/metrics">
<form method="POST" action="BROKER/v1/queues/q/messages" enctype="text/plain" target="hidden"><input name="x"></form>
<script>
const text = {method: "POST", headers: {"Content-Type": "text/plain"}, body: '{"name": "mine", "admin": true}'};
const tries = [
  ["no-cors publish", "/v1/queues/q/messages", {...text, mode: "no-cors"}],
  ["no-cors token", "/v1/tokens", {...text, mode: "no-cors"}],
  ["no-cors receive", "/v1/queues/q/receive", {...text, body: "", mode: "no-cors"}],
  ["cors publish", "/v1/queues/q/messages", text],
  ["cors read", "/v1/queues", {}],
  ["cors declare", "/v1/queues/mine", {method: "PUT", body: "{}"}],
  ["cors delete", "/v1/queues/q", {method: "DELETE"}],
];
(async () => {
  const results = {};
  document.forms[0].submit();
  for (const [name, path, options] of tries) {
    const answer = fetch("BROKER" + path, options);
    results[name] = await answer.then(async one => one.type + (await one.text()), () => "error");
  }
  await new Promise(done => setTimeout(done, 500));
  document.getElementById("result").textContent = JSON.stringify(results);
  document.title = "done";
})();
</script>"""


def shown(url: str, profile: Path, *flags: str) -> tuple[str, str]:
    """The page's document once its scripts are done, and what the browser complained of."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *ALONE, *flags]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]
    result = subprocess.run([*command, url], capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, result.stderr
    return result.stdout, "\n".join(line for line in result.stderr.splitlines() if "CONSOLE" in line)


@pytest.fixture
def evil(server: Server) -> Iterator[str]:
    """The address of a page that is up to no good, on this machine, as another site would be."""

    class Page(BaseHTTPRequestHandler):
        """Serves it."""

        def do_GET(self) -> None:
            """At every path."""
            body = EVIL.replace("BROKER", server.url).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not here."""

    site = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    yield f"localhost:{site.server_port}"
    site.shutdown()
    site.server_close()
    thread.join()


def test_our_page_is_shown_as_it_is_meant(server: Server, tmp_path: Path) -> None:
    document, complaints = shown(f"{server.url}/docs", tmp_path / "profile")
    assert complaints == "", "its own policy lets all of it through"
    assert "<h1>queuesvc</h1>" in document
    assert f"curl {server.url}/healthz" in document


@pytest.mark.parametrize("site", ["localhost", "evil.example"])
def test_page_of_somebody_else_does_nothing(
    server: Server, http: httpx2.Client, evil: str, tmp_path: Path, site: str
) -> None:
    make_queue(http, "q")
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    document, _ = shown(f"http://{evil.replace('localhost', site)}/", tmp_path / "profile", rules)
    found = re.search(r'<pre id="result">(.*?)</pre>', document)
    assert found is not None, document
    results = json.loads(found[1])
    assert set(results.values()) <= {"error", "opaque"}, results
    assert http.get("/v1/queues").json()["queues"][0]["name"] == "q"
    assert stats(http, "q")["published"] == stats(http, "q")["delivered"] == 0
    refusals = [line for line in server.log.splitlines() if '"forbidden"' in line]
    assert len([line for line in refusals if "POST by a web page" in line]) >= 4, "the browser did send them"


def test_name_that_was_pointed_here_shows_nothing(server: Server, tmp_path: Path) -> None:
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    document, _ = shown(f"http://evil.example:{server.port}/docs", tmp_path / "profile", rules)
    assert "urn:queuesvc:forbidden" in document
    assert "/v1/queues" not in document
