//! The operator, driven from outside.
