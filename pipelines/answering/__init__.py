"""The core algorithm: answers the tasks of one document with an engine.

Pure: the engine is a protocol. The batch worker and the endpoint's replica both await
`answer.answer_document`; start reading there.
"""
