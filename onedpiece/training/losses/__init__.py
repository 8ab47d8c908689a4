"""What a reconstruction is judged by in training: pixels, a perceptual metric, a discriminator."""
