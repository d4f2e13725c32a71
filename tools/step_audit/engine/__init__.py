"""What writes the transitions of a workflow engine: states, events, attribution."""
