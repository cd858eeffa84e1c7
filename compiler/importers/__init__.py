"""Models that were trained elsewhere, in the form that the language's layers take."""
