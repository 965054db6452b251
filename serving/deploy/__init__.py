"""What it takes to run the real `tensorflow_model_server`: `twotower deploy` writes it for a model."""
