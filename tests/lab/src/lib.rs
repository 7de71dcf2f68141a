//! Real servers, started by the tests in temporary folders on free loopback ports.
