"""What generational distillation shows, and why."""
