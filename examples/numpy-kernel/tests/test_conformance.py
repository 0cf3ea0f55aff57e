"""Every check of rnn-conformance, as tests of this project."""

from rnn_conformance.suite.all import *  # noqa: F403
