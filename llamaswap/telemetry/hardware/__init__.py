"""What machine this is: one report per life of the program. Static facts; live ones are sampled."""
