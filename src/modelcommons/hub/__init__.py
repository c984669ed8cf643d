"""the hub: models and data sets for a group, in the Hugging Face protocol; nothing acknowledged is ever lost."""
