"""Arguments and results as bytes: JSON by the annotations, or cloudpickle."""
