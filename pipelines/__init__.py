"""The offline pipeline as a library: from a job file and a corpus to answers in Parquet.

Packages, top to bottom (each imports only those below it): `tiny`, `reporting` and `doctor`, `run`,
`ledger` and `engine`, `corpus` and `answering`, `checks`, `tasks` and `models`, `text`, `job`.
Shared by all: `storage` (on `stores`), `documents`, `errors`. Start reading at `run/batch.py`, then
`answering/answer.py`.
"""
