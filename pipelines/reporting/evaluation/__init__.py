"""Compares the answers of an OUTPUT with right ones, and two OUTPUTs with each other.

Start reading at `evaluation.py`.
"""
