"""What each API group is: kinds, defaults, validation, strategies and printer columns."""
