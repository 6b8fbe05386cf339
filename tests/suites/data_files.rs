//! Datasets and resources from files.
