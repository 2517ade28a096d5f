"""Systems: one file each, joining a model, a behavior and an optimizer."""
