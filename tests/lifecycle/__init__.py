"""What the engine changes or deletes of a result is kept; a trail outlives the engine's rows."""
