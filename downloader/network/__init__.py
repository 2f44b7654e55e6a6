"""One ranged request to anywhere, and its reply. Only this room imports requests.

Every module of it imports requests or urllib3 as a whole before a part of it. doit's threads import
several modules at once: one that asks for `requests.utils` while another is half way through
`requests` would make each wait for the other, and Python ends that with a module that is not
complete.
"""
