"""The task endpoint over HTTP: gBuilder's routes and the native API."""
