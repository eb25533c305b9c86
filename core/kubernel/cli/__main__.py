"""``python -m kubernel.cli``."""

import sys

from kubernel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
