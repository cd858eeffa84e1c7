"""What any machine reads off a plan: cost, memory, constants, reuse of arrays, and what is revealed to whom."""
