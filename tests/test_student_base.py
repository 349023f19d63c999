"""student.path: what is found, what is refused, and that a converted GGUF is the model that llama.cpp serves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from endpoint_post import post
from tiny_student import write_adapter, write_gguf

from distill.records.faults import InputError
from distill.student import base
from distill.student.base_weights import open_folder
from distill.student.tokenizer import mismatches
from distill.teacher.embedded.llama_server import serve

PROMPT = "What is the price of item G316? \n\n  12 é <|im_end|>"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("models/nothing-here", "could not be fetched from the hub"),
        ("nothing-here", "neither a folder nor a .gguf file"),
        ("/nowhere/model", "looked for /nowhere/model"),
        ("missing.gguf", "neither a folder nor a .gguf file"),
        ("local/smollm3", "did you mean local/smollm2-135m-instruct?"),
        ("local/smollm3", "or for a teacher or judge the base_url of an endpoint"),
    ],
)
def test_a_path_that_does_not_exist_is_named(path, said, cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"student/path|model:") as refused:
        base.find(path)
    assert said in str(refused.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.json"):
        base.find(str(tmp_path))


def test_an_absolute_path_does_not_become_the_name(gguf, cache):
    found = base.find(str(gguf), weights=False)
    assert found.name == "tiny.gguf"
    assert base.find(str(found.directory)).name == found.directory.name


def test_a_path_may_begin_at_home(gguf, cache, monkeypatch):
    monkeypatch.setenv("HOME", str(gguf.parent))
    base.check("~/tiny.gguf")
    assert base.find("~/tiny.gguf") == base.find(str(gguf))
    assert base.name("~/tiny.gguf") == "tiny.gguf"


def test_a_missing_folder_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base.check("models/base")
    (tmp_path / "models").mkdir()
    base.check("models/base@main")
    with pytest.raises(
        InputError, match=r"'models/base' is no folder here .* if it is a hub id, write models/base@main"
    ):
        base.check("models/base")


def test_a_file_is_converted_once(gguf, cache):
    first = base.find(str(gguf))
    stamp = (first.directory / "model.safetensors").stat().st_mtime_ns
    (cache / "students" / f".{first.directory.name}.killed.tmp").mkdir()  # of a conversion that was killed
    assert base.find(str(gguf)) == first
    assert (first.directory / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_file_that_is_no_gguf_is_refused(tmp_path, cache):
    (tmp_path / "broken.gguf").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(InputError, match="not a GGUF file"):
        base.find(str(tmp_path / "broken.gguf"))
    assert not list((cache / "students").glob("broken*v?"))


def test_a_part_of_a_split_model_is_refused(tmp_path, cache):
    from gguf import GGUFWriter

    writer = GGUFWriter(file := tmp_path / "tiny-00001-of-00002.gguf", "llama")
    writer.add_uint16("split.count", 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match="one of the 2 parts of a model: .*llama-gguf-split --merge"):
        base.find(str(file))


@pytest.mark.parametrize("size", [6, 3000, -5000], ids=["number", "header", "weights"])
def test_a_file_that_is_cut_off_is_named(size, gguf, tmp_path, cache):
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:size])
    with pytest.raises(InputError, match=r"cut\.gguf: the file is cut off"):
        base.find(str(tmp_path / "cut.gguf"))


def test_weights_that_are_missing_are_not_made_up(gguf, cache):
    from safetensors.numpy import load_file, save_file

    folder = base.find(str(gguf)).directory
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"only a part of its model: 1 weights .*model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        open_folder(folder)


def test_code_that_a_base_brings_is_not_run_whatever_a_prompt_would_be_told(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}')
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    program = "import sys; from distill.student.base_weights import config; config(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], input="y\n", capture_output=True, text=True, check=False
    )
    assert "[y/N]" not in done.stdout and not (tmp_path / "was-run").exists()
    assert "InputError: params.yaml: /student/path" in done.stderr and "custom code" in done.stderr


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133\n"


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors"])
def test_a_file_that_git_lfs_has_not_fetched_is_named(name, gguf, cache):
    folder = base.find(str(gguf)).directory
    (folder / name).write_text(POINTER)
    with pytest.raises(
        InputError, match=rf"student/path: .*{folder}.* cannot be read \(.*\): a download broke off, or g"
    ):
        if name == "model.safetensors":
            open_folder(folder)
        else:
            mismatches(folder)


def test_weights_that_cannot_be_loaded_are_named(gguf, cache):
    folder = base.find(str(gguf)).directory
    config = json.loads((folder / "config.json").read_text())
    quantized = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(config | quantized))
    with pytest.raises(InputError, match=rf"student/path: {folder} cannot be loaded: Loading a GPTQ quantized model"):
        open_folder(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=rf"student/path: {folder} cannot be loaded: Error no file named"):
        open_folder(folder)


def test_a_base_without_settings_of_its_tokenizer_is_saved(gguf, cache, tmp_path):
    (base.find(str(gguf)).directory / "tokenizer_config.json").unlink()
    write_adapter(gguf, tmp_path / "adapter")
    assert (tmp_path / "adapter/tokenizer_config.json").read_text() == "{}\n"


def test_counting_tokens_loads_nothing_heavy(gguf, cache, tmp_path):
    program = (
        "import sys; from distill.student.tokenizer import load_tokenizer;"
        f"print(len(load_tokenizer({str(gguf)!r}, {str(template(tmp_path))!r}).encode('one two')));"
        "print([m for m in ('torch', 'transformers', 'numpy', 'gguf', 'trl') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[1] == "[]"


def test_the_converted_model_is_the_served_one(gguf, cache, tmp_path):
    """Token ids, and the probabilities of the next token, are those of llama.cpp."""
    import torch
    from transformers import AutoModelForCausalLM

    from distill.student.tokenizer import load_tokenizer

    torch.set_num_threads(1)
    found = base.find(str(gguf))
    ids = load_tokenizer(str(gguf), str(template(tmp_path))).encode(PROMPT)
    with serve(gguf, slots=1, context=256, template=template(tmp_path)) as endpoint:
        assert post(endpoint, "/tokenize", content=PROMPT, add_special=False, parse_special=True)["tokens"] == ids
        served = post(endpoint, "/completion", prompt=ids, n_predict=1, n_probs=20, temperature=0, top_k=0)
    model = AutoModelForCausalLM.from_pretrained(found.directory)
    ours = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    for candidate in served["completion_probabilities"][0]["top_logprobs"]:
        assert ours[candidate["id"]].item() == pytest.approx(candidate["logprob"], abs=0.05)


def template(folder: Path) -> Path:
    file = folder / "template.jinja"
    file.write_text((base.Path(base.__file__).parent / "templates" / "smollm2.jinja").read_text())
    return file
