"""The text tower that learns: which of BERT's weights, at what rate, and in how much memory."""
