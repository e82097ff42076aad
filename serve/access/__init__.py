"""Access to the endpoint: keys, quotas, and the limits on a request's body.

Depends on `spec`, `wire` and `errors`; knows no engine. Start at `gate.py`.
"""
