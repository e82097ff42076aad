"""Exactly-once bookkeeping in OUTPUT: plans, leases, attempts, commits, publishing, verification.

Depends on `storage` and on the units of `corpus`; knows no engine and no Ray. Start at `ledger.py`;
docs/guarantees.md states what is promised.
"""
