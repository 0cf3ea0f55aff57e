"""Tests of the oracle: closed forms, published examples, agreement with torch, gradients and refusals."""
