"""`python -m lakh`."""

import sys

from lakh.cli import main

sys.exit(main())
