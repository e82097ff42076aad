"""The foundation of `storage`: which stores can hold OUTPUT, how they differ, and durable file
names on a local disk.

Depends on `errors` only. Start at `protocols.py`.
"""
