"""One frame of an object as it is to be seen."""
