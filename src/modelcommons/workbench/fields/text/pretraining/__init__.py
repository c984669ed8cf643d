"""BERT's pretraining: words that are masked, and whether one stretch follows another."""
