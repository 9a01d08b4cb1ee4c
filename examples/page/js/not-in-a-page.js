// The official client has a part for Node that needs the package 'websocket': a page does not.
