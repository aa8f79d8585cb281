"""BentoML and what we build on it, imported without the deprecation warnings of BentoML's own imports."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pathspec and pydantic, by BentoML 1.4
    import bentoml

    from serving import register, service

__all__ = ["bentoml", "register", "service"]
