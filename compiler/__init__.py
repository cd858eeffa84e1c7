"""From the syntax tree of a `.ppml` file to the plan that the runtime executes."""
