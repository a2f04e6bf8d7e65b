"""What a build says of itself; a packager stamps commit and date."""

from llamaswap import __version__

VERSION = __version__
COMMIT = "abcd1234"
BUILD_DATE = "unknown"
