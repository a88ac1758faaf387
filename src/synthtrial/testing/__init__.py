"""Contract suites and toys for plug-in authors."""
