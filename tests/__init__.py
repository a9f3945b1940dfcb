"""The tests: a package, so that worker processes can import what the tests send them by reference."""
