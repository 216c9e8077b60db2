"""`python -m manyviews` is `manyviews`."""

import sys

from manyviews.app.cli import main

sys.exit(main())
