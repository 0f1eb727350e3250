"""What tests stand on: real classes that pass the same conformance suites as the real thing."""
