"""The bidder of an exchange: bid requests, bids, and the notices that settle them."""
