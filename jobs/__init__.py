"""The command line `phifleet`: commands, the live view, and process control of a run.

Depends on `pipelines`, never on `serve`. Start at `cli.py`, then `run.py`.
"""
