"""sequences: texts turned into other texts; what translation and text2text-generation are made of."""
