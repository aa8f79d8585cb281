"""Composition root of training: Hydra composes, Lightning runs, a bundle and a report come out."""
