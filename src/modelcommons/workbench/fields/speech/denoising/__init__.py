"""denoising: recordings in noise, the mask that takes it away, and how much of it is gone."""
