"""The ways between our processes and to the engines, and how they are made safe."""
