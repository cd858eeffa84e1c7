"""Models of other systems as programs of the language, and their parameters in the form that its layers take."""
