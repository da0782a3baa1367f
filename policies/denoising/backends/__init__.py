"""Ways to compute a policy's chunks. ``registry`` names them; each is a file, and imports what it needs when it is used."""
