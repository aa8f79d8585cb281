"""How likely an outcome is, with intervals, reasons and cautions."""
