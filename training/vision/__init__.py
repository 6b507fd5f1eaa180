"""The mini base's vision tower: the ImageNet network it is made of, and its merger's pre-training."""
