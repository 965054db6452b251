"""How the weights learn: groups of variables with rates of their own, embedding tables updated row by row."""
