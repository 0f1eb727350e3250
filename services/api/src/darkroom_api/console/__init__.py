"""The console: pages for people, made of what REST answers to them (docs/console.md)."""
