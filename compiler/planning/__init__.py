"""From gates to a plan: what is computed where and in which ring, in which round, and the plan itself."""
