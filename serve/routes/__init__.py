"""The HTTP routes: documents, OpenAI's chat and completions, feedback, health, and the page.

Depends on `access` and `engines`. Start at `endpoint.py`.
"""
