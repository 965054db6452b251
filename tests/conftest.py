"""What all tests share: one process holds the trainer beside the server, which in production never meet."""

from __future__ import annotations

import os

# Importing the server touches `tf.keras`, which then stays Keras 3 for the process; the trainer needs Keras 2 there
# (trainer/keras_compat.py). Whichever is imported first must find the same choice.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
