"""Tags that people have named are kept of every object, to be searched by."""
