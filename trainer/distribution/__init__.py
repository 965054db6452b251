"""Training on several devices or machines by `tf.distribute`."""
