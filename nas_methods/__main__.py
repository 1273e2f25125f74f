"""`python -m nas_methods`, after an edit: declares that the VERSIONs of all parts are right for the code of now."""

import nas_methods

if __name__ == "__main__":
    nas_methods.declare()
