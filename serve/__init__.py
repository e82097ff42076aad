"""The online endpoint on Ray Serve.

Top to bottom: `app`, `local`, `cli`; `routes`; `access` and `engines`; `wire`, `events`, `spec`,
`metrics`, `environment`. Never imports `jobs`. Start reading at `app.py`, then
`routes/endpoint.py` and `engines/replica.py`.
"""
