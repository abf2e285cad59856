"""What others can get at: the address, the certificate's files, the store's files."""

import json
import re
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from queuesvc.http.tls import BadCertificate, server_context
from tests.support.server import Server, ServerFailed


def refusal(tmp_path: Path, *args: str) -> str:
    """What it says when it does not start with these arguments."""
    command = [sys.executable, "-m", "queuesvc", "serve", "--port", "0", "--data", "data", *args]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_broker_without_tokens_does_not_listen_where_others_are(tmp_path: Path, host: str) -> None:
    line = refusal(tmp_path, "--host", host)
    assert line.startswith(f"queuesvc: will not listen on {host}:0 without tokens")
    assert "queuesvc token create" in line
    assert "--insecure" in line


@pytest.mark.parametrize(
    ("args", "env"), [(["--insecure"], {}), ([], {"QUEUESVC_INSECURE": "true"})], ids=["flag", "environment"]
)
def test_operator_may_insist(tmp_path: Path, args: list[str], env: dict[str, str]) -> None:
    server = Server(tmp_path / "data", ["--host", "0.0.0.0", *args], env)
    try:
        server.start()
        assert httpx2.get(f"{server.url}/healthz").status_code == 200
    finally:
        server.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_loopback_needs_no_tokens(tmp_path: Path, host: str) -> None:
    server = Server(tmp_path / "data", ["--host", host])
    try:
        server.start()
    finally:
        server.close()


def test_store_is_for_its_owner_only(server: Server, http: httpx2.Client) -> None:
    assert http.put("/v1/queues/q", json={}).status_code == 201
    assert http.post("/v1/queues/q/messages", content=b"x").status_code == 201
    files = [server.data, *server.data.iterdir()]
    assert len(files) >= 3
    assert {path.name: stat.filemode(path.stat().st_mode) for path in files if path.stat().st_mode & 0o077} == {}
    assert all(json.loads(line)["logger"] == "queuesvc.audit" for line in server.log.splitlines())


def test_folder_that_others_may_look_into_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    server = Server(tmp_path / "data")
    try:
        server.start()
        assert "chmod 700" in server.log
    finally:
        server.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    own = trustme.CA().issue_cert("localhost")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("gone.pem", "key.pem", "tls_cert: cannot read gone.pem: No such file"),
        ("cert.pem", "gone.pem", "tls_key: cannot read gone.pem: No such file"),
        (".", "key.pem", "tls_cert: cannot read .: Is a directory"),
        ("key.pem", "key.pem", "tls_cert: there is no certificate in PEM form in key.pem"),
        ("cert.pem", "cert.pem", "tls_key: there is no private key in PEM form in cert.pem"),
        ("cert.pem", "other.pem", "tls_key: other.pem is not the key of the certificate in cert.pem"),
        ("cert.pem", "encrypted.pem", "tls_key: encrypted.pem is encrypted"),
        ("broken.pem", "key.pem", "tls_cert: broken.pem and key.pem cannot be used"),
        ("cert.pem", "broken.pem", "tls_cert: cert.pem and broken.pem cannot be used"),
    ],
)
def test_certificate_that_cannot_be_used_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificate: tuple[Path, Path],
    cert: str,
    key: str,
    words: str,
) -> None:
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")
    plain = load_pem_private_key(certificate[1].read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    (tmp_path / "encrypted.pem").write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    begin = "-----BEGIN CERTIFICATE-----\nnot\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nnot\n"
    (tmp_path / "broken.pem").write_text(f"{begin}-----END PRIVATE KEY-----\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadCertificate) as caught:
        server_context(Path(cert), Path(key))
    assert str(caught.value).startswith(words)


def test_bad_certificate_is_told_before_anything_is_made(tmp_path: Path) -> None:
    line = refusal(tmp_path, "--tls-cert", "gone.pem", "--tls-key", "gone.pem")
    assert line == "queuesvc: tls_cert: cannot read gone.pem: No such file or directory"
    assert not (tmp_path / "data").exists()


def test_certificate_of_a_public_address_does_not_replace_tokens(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    assert "without tokens" in refusal(tmp_path, "--host", "0.0.0.0", "--tls-cert", str(cert), "--tls-key", str(key))


def test_start_line_says_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    server = Server(tmp_path / "data", env={"QUEUESVC_TLS_CERT": str(cert), "QUEUESVC_TLS_KEY": str(key)})
    try:
        assert re.search(r" listening on https://127\.0\.0\.1:\d+, ", server.start().start_line)
        trust = ssl.create_default_context(cafile=cert)
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{server.url}/healthz")
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        assert httpx2.get(f"{server.url}/healthz", verify=trust).status_code == 200
    finally:
        server.close()


def test_tokens_open_the_way_to_other_addresses_and_losing_the_last_shuts_it(tmp_path: Path) -> None:
    """A token that is revoked must not leave a broker open to everybody: it serves nobody, and then starts no more."""
    server = Server(tmp_path / "data")
    try:
        made = httpx2.post(f"{server.start().url}/v1/tokens", json={"name": "root", "admin": True})
        bearer = {"Authorization": f"Bearer {made.json()['token']}"}
        assert server.stop() == 0
        server.args = ["--host", "0.0.0.0"]
        server.start()
        assert httpx2.get(f"{server.url}/v1/queues").status_code == 401
        assert httpx2.delete(f"{server.url}/v1/tokens/root", headers=bearer).status_code == 204
        for headers in ({}, bearer):
            assert httpx2.get(f"{server.url}/v1/queues", headers=headers).status_code == 401
            assert httpx2.post(f"{server.url}/v1/queues/q/receive", headers=headers).status_code == 401
        assert server.stop() == 0
        with pytest.raises(ServerFailed, match="without tokens"):
            server.start()
    finally:
        server.close()
