"""What the engine's command is wrapped in: nothing, environment modules, or a container; where engines keep things."""
