"""The services p0, p1 and the dealer, from their keys and addresses to their end."""
