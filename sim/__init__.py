"""MuJoCo worlds, tasks, experts and the simulated robot. Importing this registers the gymnasium environments."""

import praxon.gl  # noqa: F401  (selects the OpenGL backend before MuJoCo is imported)
from praxon.sim.registration import register

register()
