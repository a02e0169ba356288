//! What is done with a request, given the state of the link. Pure.
