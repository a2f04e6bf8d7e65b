"""What is alive right now: one nursery per upstream process under one root nursery."""
