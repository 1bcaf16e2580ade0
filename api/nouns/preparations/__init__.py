"""Preparations under way at sites, as far as their data owners let the registry hear of them."""
