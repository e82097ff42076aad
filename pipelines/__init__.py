"""The offline pipeline, as a library: Parquet in, Parquet out, answers by vLLM on Ray Data."""
