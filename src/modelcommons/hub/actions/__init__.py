"""what people can do on a hub, by noun; pages and programs call the same functions, so they cannot disagree."""
