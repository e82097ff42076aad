"""What `storage` is built on: which stores hold OUTPUT, how they differ, and names on a local disk.

Depends on `errors` alone. Start at `protocols.py`.
"""
