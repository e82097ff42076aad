"""The online endpoint on Ray Serve."""
