"""Where the servers are: clusters, processes of this machine, and whom to blame when one is gone."""
