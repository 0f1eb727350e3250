"""WADO-RS: what is stored, found and sent; no object is parsed in the process of the api."""
