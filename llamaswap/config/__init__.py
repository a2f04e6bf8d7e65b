"""What the operator wrote: loaded, checked and frozen."""
