"""OpenRTB 2.6: bid requests, the privacy they demand, creatives that fit, bids and their signed notices."""
