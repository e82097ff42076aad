"""A tiny text classification model with random weights, made on the spot."""

from __future__ import annotations

from pathlib import Path

LABELS = ("clean", "toxic")
WORDS = ["vile", "kind", "words", "the", "a", "harbour", "report", "of"]


def write_classifier(directory: Path, *, seed: int = 0, multiple: bool = False) -> Path:
    """Write a BERT of one layer that reads 30 tokens, and return its directory.

    With `multiple` its labels are independent of each other.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    ids = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))  # noqa: S106 (no password)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",  # noqa: S106 (no password)
        sep_token="[SEP]", model_max_length=30,  # noqa: S106 (no password)
    ).save_pretrained(directory)  # fmt: skip
    config = BertConfig(
        vocab_size=len(ids), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, initializer_range=1.0,
        id2label=dict(enumerate(LABELS)), label2id={label: at for at, label in enumerate(LABELS)},
        problem_type="multi_label_classification" if multiple else None,
    )  # fmt: skip
    torch.manual_seed(seed)
    BertForSequenceClassification(config).save_pretrained(directory)
    return directory
