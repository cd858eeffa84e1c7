"""How bytes travel between the machines: the interfaces, and ZeroMQ between processes."""
