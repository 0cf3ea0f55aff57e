"""python -m rnn_conformance."""

import sys

from rnn_conformance.cli import main

sys.exit(main())
