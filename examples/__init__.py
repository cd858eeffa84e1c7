"""Examples of private machine learning; each folder is one, and its README says how to run it."""
