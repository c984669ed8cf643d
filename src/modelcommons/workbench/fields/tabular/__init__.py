"""tabular: rows of measurements and categories, as medicine and finance keep them."""
