"""image: pictures of any size as arrays of bytes, and the models that tell what is on them."""
