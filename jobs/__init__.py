"""The command line `phifleet`: commands, what they print, and process control of a run.

Depends on `pipelines`, never on `serve`. Start reading at `cli.py`, then `run.py`.
"""
