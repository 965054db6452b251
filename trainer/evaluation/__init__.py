"""Full-catalogue evaluation: exact ranks, metrics with intervals, and baselines on the same queries.

Nothing here needs TensorFlow. A model takes part as a function from a range of queries to scores
(:class:`~trainer.evaluation.ranking.Scorer`), and so does every baseline, so that all are measured alike.
"""
