// A replacement for the package 'websocket', which the official client needs in Node only.
