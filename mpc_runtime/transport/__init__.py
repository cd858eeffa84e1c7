"""How bytes travel between the machines: the interfaces, memory (tests), ZeroMQ (processes)."""
