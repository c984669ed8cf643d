"""recommendation: what a person will want next, from what they and others chose before."""
