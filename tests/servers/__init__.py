"""Servers the tests speak to, all on 127.0.0.1.

    faulty       our own HTTP/1.1 server: it obeys RFC 9110 until a test scripts a fault
    faults       what it can be told to do wrong, one module a family
    azure_2009   the same server in the dialect Azure speaks to anonymous clients
    together     Together AI's fine-tuning API and the storage behind it
    nginx        the real nginx, where it is installed
    azurite      the real Azurite (Azure's storage emulator), where it is installed

Below them: `body` (what a resource holds), `exchange` (what was asked), `reply` (what is answered),
`honest` (the rules of RFC 9110), `wire` (bytes on the socket).
"""
