"""The machines of a plan without sockets: a party, the dealer, the simulator, their keys and their counts."""
