import praxon.gl  # noqa: F401  (selects the OpenGL backend before MuJoCo is imported)
