"""Measurements on trained networks: figures of their weights and values that say how they will ship."""
