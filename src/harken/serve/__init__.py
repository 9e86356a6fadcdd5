"""The model behind a port: clips over HTTP, streams over WebSocket, and a page to speak to."""
