//! A store over HTTP, from the side of those who use it.
