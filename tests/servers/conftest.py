"""The servers as fixtures."""

from tests.servers.fixtures import *  # noqa: F403 - fixtures, by their names
