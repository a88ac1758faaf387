"""The engine of a Ray cluster: Tune for trials, Train for GANs, plain tasks for the rest."""
