"""What the rules of retention say of each study, and the nightly run that acts on it (STO-04)."""
