"""Fault injection: disturbs runs of phifleet at random moments, then checks their output.

Start it with `python -m chaos`; see `storm.py` for the faults.
"""
