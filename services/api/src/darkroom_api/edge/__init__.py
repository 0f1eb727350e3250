"""What is decided of a request beside its route: whence it comes, where it goes, how much of it."""
