//! How the process can end.
