"""The routes by which people are erased, and told what is held of them."""
