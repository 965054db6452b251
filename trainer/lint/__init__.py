"""A linter for SavedModels: will a stock TensorFlow Serving of a given release load and batch this one?

Works on any SavedModel. TensorFlow is imported only when a model is read.
"""
