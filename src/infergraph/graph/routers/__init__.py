"""Built-in routers, bandits and combiners."""
