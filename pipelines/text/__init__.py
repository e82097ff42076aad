"""Document text as the model reads it: tokens, chunks, outline, prompts, and where a quote stands.

Pure: needs a tokenizer, no engine and no filesystem. Start at `tokens.py`, then `chunking.py`.
"""
