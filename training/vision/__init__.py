"""Pre-training of the mini vision tower: a teacher's features, distilled."""
