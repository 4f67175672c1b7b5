"""Training: what drives the model, the data and the loss. Nothing else in the package imports it but the command."""
