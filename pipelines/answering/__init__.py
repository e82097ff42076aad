"""The core algorithm: a document, its tasks and an engine in, answers out.

Pure: the engine is a protocol. The batch worker and the endpoint's replica both await
`answer.answer_document`; start there.
"""
