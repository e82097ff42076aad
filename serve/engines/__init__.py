"""Engine replicas: their deployment, routing, autoscaling and load limit, and what they answer.

Depends on `pipelines` and on `serve`'s `spec`, `wire` and `events`; knows no HTTP. Start reading at
`replica.py`.
"""
