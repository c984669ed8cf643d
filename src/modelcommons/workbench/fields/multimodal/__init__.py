"""multimodal: pictures and texts that belong together."""
