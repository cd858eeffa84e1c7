"""From numbers to ring elements and to shares, and back."""
