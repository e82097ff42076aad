"""Preparation of document text for the model: tokens, chunks, headings, prompts and quotes.

Needs a tokenizer, but no engine and no filesystem. Start at `tokens.py`, then `chunking.py`.
"""
