"""Is what the store holds still what was received, and does the index know it?"""
