"""What the licence entitles to, as licensing tells it, and what is refused because of it."""
