"""Every check as a test of one module: `from rnn_conformance.suite.all import *` puts them into a user's own test tree.

They are named test_FAMILY_NAME, since names alone occur in several families, and run with the options `--rnn-*`.
"""

from rnn_conformance.run import load_tests

globals().update(load_tests())
__all__ = list(load_tests())
