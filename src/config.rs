//! The configuration file: plain structs as read, then types that cannot be wrong.
