"""language models: what text-generation is made of."""
