"""speech: recordings of any rate and length as samples, and the models that listen to them."""
