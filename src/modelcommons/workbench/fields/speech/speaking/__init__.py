"""speaking: texts as speech: how long each character takes, what it sounds like, and the wave of it."""
