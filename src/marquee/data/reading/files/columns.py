"""Names of the columns that reading adds to those of a file."""

ROW = "__row"
FAULT = "__fault"
