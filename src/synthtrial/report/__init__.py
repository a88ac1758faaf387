"""Tables, figures and the report page; needs no torch."""
