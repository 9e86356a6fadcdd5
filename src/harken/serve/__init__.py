"""Serve a model: clips over HTTP, streams over WebSocket, and a web page to try it with a microphone."""
