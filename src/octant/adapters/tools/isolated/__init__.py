"""What runs in a tool's process: it imports the standard library and nothing of Octant."""
