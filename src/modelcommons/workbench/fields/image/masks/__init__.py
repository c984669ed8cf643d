"""pictures with a class for every pixel: what image-segmentation is made of."""
