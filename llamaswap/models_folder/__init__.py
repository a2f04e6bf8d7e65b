"""From a folder of model files to a configuration that serves them."""
