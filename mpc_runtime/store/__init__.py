"""Stored material: the dealer's records on a party's disk, and the ledger that says which of them may still be used."""
