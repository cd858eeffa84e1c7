"""Private prediction and training with two compute parties and a dealer."""
