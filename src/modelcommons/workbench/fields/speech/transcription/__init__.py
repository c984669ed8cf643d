"""transcription: what is said in a recording, character by character."""
