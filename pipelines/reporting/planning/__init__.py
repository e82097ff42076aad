"""What a job will read, generate, take and cost, from its index or a sample.

Start reading at `planned.py`, which makes the forecast of `forecast.py`.
"""
