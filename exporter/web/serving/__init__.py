"""How pages are served: sockets, TLS, who may see them, and what a connection may take.

| module | holds |
| --- | --- |
| listen | listening sockets |
| server, door | connections, from the accept to the end |
| setup, tls | the web configuration, ready to be used |
| access | users and headers |
| sending | large pages to slow readers |
"""
