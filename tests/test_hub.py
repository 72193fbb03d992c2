"""The hub's client against a small server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants, hf_hub_download

from outcore.models import hub, manifest, weights
from outcore.models.faults import NoSource, SourceFailed, WrongHash
from outcore.models.model import HubSource, Model
from outcore.models.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "c0ffee" + "0" * 34
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "model.safetensors": bytes(range(256)) * 400,
    "README.md": b"# not wanted",
    "original/model.safetensors": b"not wanted either",
}
MODEL = Model(
    name="tiny",
    role="test",
    profile="small",
    licence="Apache-2.0",
    window=512,
    format="safetensors",
    sources=(HubSource("owner/tiny"),),
)


class Hub(ThreadingHTTPServer):
    """One public repository, `owner/tiny`; `wrong` names a file it serves changed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.wrong = ""
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/owner/tiny"):
            self._send(json.dumps(self._info()).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/owner/tiny/resolve/"):
            name = path.split("/", 5)[5]
            content = FILES[name]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(name)}"'}
            if name == self.server.wrong:
                content = b"\0" * len(content)
            if body:
                self.server.fetched.append(name)
            self._send(content, headers, body=body)
        else:
            self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, code=404)

    def _info(self) -> dict[str, Any]:
        siblings = []
        for name, content in FILES.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content)}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"sha256": _etag(name), "size": len(content), "pointerSize": 100}
            entry["blobId"] = _git(content)
            siblings.append(entry)
        return {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings, "tags": []}

    def _send(
        self, content: bytes, headers: dict[str, str], *, code: int = 200, body: bool = True
    ) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _etag(name: str) -> str:
    content = FILES[name]
    return hashlib.sha256(content).hexdigest() if "safetensors" in name else _git(content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OUTCORE_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("OUTCORE_WEIGHTS", raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
        server.shutdown()
        thread.join()


def test_repository_is_fetched_checked_and_recorded(server: Hub, tmp_path: Path) -> None:
    folder = weights.ensure(MODEL)
    assert folder == tmp_path / "home" / "weights" / "tiny"
    wanted = {"config.json", "tokenizer.json", "model.safetensors"}
    assert {path.name for path in folder.iterdir()} == {*wanted, manifest.NAME}
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    record = manifest.read(folder)
    assert record is not None
    assert record.revision == COMMIT
    assert record.files["model.safetensors"].sha256 == _etag("model.safetensors")
    assert weights.verify(MODEL) == []
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]

    fetched = len(server.fetched)
    assert weights.ensure(MODEL) == folder
    assert len(server.fetched) == fetched


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_file_unlike_the_hubs_own_hash(server: Hub, tmp_path: Path, name: str) -> None:
    server.wrong = name
    with pytest.raises(WrongHash, match=_etag(name)):
        weights.ensure(MODEL)
    assert list((tmp_path / "home" / "weights").iterdir()) == []


def test_one_file_with_progress(server: Hub, tmp_path: Path) -> None:
    source = HubSource("owner/tiny")
    files = hub.listing(source, ["model.safetensors"])
    assert files.bytes == len(FILES["model.safetensors"])
    hub.download(source, files, tmp_path / "file", SILENT)
    assert (tmp_path / "file" / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_unknown_repository(server: Hub) -> None:
    model = Model(
        "other",
        "root",
        "coder",
        "unknown",
        0,
        "safetensors",
        sources=(HubSource("owner/other", "v1"),),
    )
    with pytest.raises(NoSource, match=r"hub owner/other at v1: there is no such repository"):
        weights.ensure(model)


def test_repository_without_the_file(server: Hub) -> None:
    with pytest.raises(SourceFailed, match=r"holds no x\.gguf"):
        hub.listing(HubSource("owner/tiny"), ["x.gguf"])


@pytest.mark.usefixtures("server")
def test_unreachable_hub_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(NoSource, match=r"hub owner/tiny: .*refused") as caught:
        weights.ensure(MODEL)
    assert "copy the model's folder, named tiny," in str(caught.value)
    assert list((tmp_path / "home" / "weights").iterdir()) == []


def test_folder_in_place_needs_no_hub(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (shelf / "owner" / "tiny").mkdir(parents=True, exist_ok=True)
        (shelf / "owner" / "tiny" / name).write_bytes(FILES[name])
    monkeypatch.setenv("OUTCORE_WEIGHTS", str(shelf))
    assert weights.ensure(MODEL) == shelf / "owner" / "tiny"
    assert server.fetched == []


def test_hub_clients_own_cache_is_used_when_whole(server: Hub, tmp_path: Path) -> None:
    source = HubSource("owner/tiny")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert hub.cached(source) is None
        hf_hub_download("owner/tiny", name, cache_dir=tmp_path / "cache")
    fetched = len(server.fetched)
    folder = weights.ensure(MODEL)
    assert folder.is_relative_to(tmp_path / "cache")
    assert weights.state(MODEL) == "ready"
    assert len(server.fetched) == fetched
