"""Attacks: damage, kills, forks, interrupts, races and nonsense."""
