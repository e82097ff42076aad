"""The bookkeeping in OUTPUT that makes every document count exactly once: plans, leases, attempts,
commits, publishing, verification.

Depends on `storage` and on the units of `corpus`; knows nothing of engines or Ray. Start at
`ledger.py`, then read `lease.py` (several drivers) and `attempts.py` (crashes). docs/guarantees.md
states the guarantees.
"""
