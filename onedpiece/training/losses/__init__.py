"""What a reconstruction is trained on: pixels, a perceptual metric, a discriminator."""
