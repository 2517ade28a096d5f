"""Pure maths: returns, transforms, distributions, losses, optimizers, trees."""
