"""`python -m nas_methods`, after an edit: declares that the VERSIONs of all parts are right for the code of now."""

from nas_methods.stamps import declare

if __name__ == "__main__":
    declare()
