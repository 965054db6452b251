"""Other wordings of the texts of rare items, from which a model learns more than their few events teach it."""
