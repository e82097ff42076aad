"""The online endpoint on Ray Serve. Not built yet."""
