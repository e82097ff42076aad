#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3, Linux, CPython 3.11.
#
# A model's directory has a tokenizer.json as Llama 2 and Phi-3 have it: a normalizer that prepends
# one "▁" to a text and replaces each blank by "▁". Its tokenizer_config.json names the class
# LlamaTokenizer with `legacy: false`, as Phi-3's does.
#
# Expected: AutoTokenizer gives the ids that tokenizer.json gives, and that the model was trained
# with: " a" has two "▁", the one prepended and the blank.
# Seen: the class builds its own tokenizer from the vocabulary and merges, with a pre-tokenizer
# Metaspace in place of the file's normalizer, without a warning. That prepends no "▁" to a text that
# begins with a blank, so " a" has the ids of "a", and decodes to "a": the blank is lost. Texts that
# begin otherwise have the same ids. PreTrainedTokenizerFast uses the file as it is.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cat > "$directory/blank.py" <<'PYTHON'
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

model = Path(sys.argv[1])
model.mkdir()
entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
entries += ["▁", "a", "b", "▁▁", "▁a"]
vocabulary = {entry: number for number, entry in enumerate(entries)}
merges = [("▁", "▁"), ("▁", "a")]
written = Tokenizer(
    models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
)
written.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
written.decoder = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1)]
)
written.save(str(model / "tokenizer.json"))
config = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": False}
config |= {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
(model / "tokenizer_config.json").write_text(json.dumps(config))

from_file = Tokenizer.from_file(str(model / "tokenizer.json"))
automatic = AutoTokenizer.from_pretrained(model)
fast = PreTrainedTokenizerFast.from_pretrained(model)
print("AutoTokenizer:", type(automatic).__name__)
for text in ("a b", " a", "  a"):
    expected = from_file.encode(text, add_special_tokens=False).ids
    given = automatic.encode(text, add_special_tokens=False)
    back = automatic.decode(given)
    print(f"{text!r}: tokenizer.json {from_file.encode(text).tokens}, AutoTokenizer "
          f"{automatic.convert_ids_to_tokens(given)}, decoded {back!r}")
    assert fast.encode(text, add_special_tokens=False) == expected
    assert from_file.decode(expected) == text
    differs = text.startswith(" ")
    assert (given != expected) == (back != text) == differs, "the behaviour has changed"
PYTHON
"$directory/venv/bin/python" "$directory/blank.py" "$directory/model"
