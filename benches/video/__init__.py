"""A bench of camera footage: clips whose truth is known, made dark, noisy and compressed, and what methods make of them."""
