"""The report of a run: one HTML page with its numbers, some of its documents, and a data card.

`facts.py` has the numbers as values, `gathering.py` reads them from the ledger, `render.py` makes
the page of them, and `writing.py` does both for an OUTPUT. Depends on the ledger, the corpus and
the prices; starts no engine. Start reading at `writing.py`.
"""
