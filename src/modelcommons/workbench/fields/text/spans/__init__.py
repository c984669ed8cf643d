"""spans: answers that are stretches of a text, for question-answering."""
