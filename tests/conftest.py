"""How all tests run: Hypothesis keeps no time, since a loaded machine would fail what is right."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
