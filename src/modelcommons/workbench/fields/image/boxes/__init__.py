"""pictures with boxes around things: what object-detection is made of."""
