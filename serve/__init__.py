"""The online endpoint: answers requests for single documents over HTTP, on Ray Serve.

Layers, top to bottom: `app`, `local`, `startup`, `announcement`, `cli`; `routes`; `access` and
`engines`; `wire`, `events`, `spec`, `metrics`, `environment`, `haproxy`. Depends on `pipelines`,
never on `jobs`. Start reading at `app.py`, then `routes/endpoint.py` and `engines/replica.py`.
"""
