"""The job file: its sections, types and defaults, and errors that name the key at fault.

Reads no file but the job file and the schemas that it names, and depends on `errors` alone. Start
at `spec.py`.
"""
