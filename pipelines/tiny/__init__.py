"""The built-in models: `tiny`, which reads, and `tiny-random`, whose words are noise."""
