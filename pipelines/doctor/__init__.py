"""Checks whether this machine can run phifleet: packages, engine, GPUs, Ray, storage and model.

Each check returns a `Check` and leaves nothing behind. `checks.py` is the place to start;
`jobs/doctor.py` puts the checks together. Depends on the packages whose parts it checks.
"""
