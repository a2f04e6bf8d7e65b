"""How requests and answers travel: sockets, HTTP/1.1, routing by model name."""
