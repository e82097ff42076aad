"""Who may send what: keys, quotas, and the limits on a request before it is read.

Depends on `spec` and `wire`; knows no engine. Start at `gate.py`.
"""
