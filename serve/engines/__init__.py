"""Engine replicas behind the front: deployment, routing, scaling, load, documents and completions.

Depends on `pipelines` and on `spec`, `wire`, `events`; knows no HTTP. Start at `replica.py`.
"""
