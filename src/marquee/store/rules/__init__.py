"""Rules: what people decide about answers without a release, versioned, with an audit of every change."""
