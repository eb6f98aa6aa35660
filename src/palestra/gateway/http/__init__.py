"""HTTP: routing, decoding, answers, limits."""
