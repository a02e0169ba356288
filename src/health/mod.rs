//! Whether the API server can be reached, and since when.
