"""Why an item scores as it does: contributions of history, words and features, inside the exported graph."""
