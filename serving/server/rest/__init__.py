"""The REST API on a second port: TensorFlow Serving's paths and JSON."""
