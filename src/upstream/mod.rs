//! Connections to the API server: pools, order of servers, headers, retries.
