"""What an owner's machine does: checks and encodes what it gives, submits it, and rebuilds what it is sent."""
