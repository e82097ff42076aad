"""The job file: its sections, types and defaults, and errors that name the key at fault.

Pure: reads no file but the job file itself, and depends on `errors` alone. Start at `spec.py`.
"""
