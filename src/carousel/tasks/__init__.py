"""From the user's data to a network, a loss and what can be asked of the trained model."""
