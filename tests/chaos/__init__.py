"""Kills runs of phifleet at random moments, and checks what they leave: `python -m chaos`."""
