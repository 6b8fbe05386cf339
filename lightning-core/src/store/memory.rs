//! The store in memory.
/// In memory.
#[derive(Debug)]
pub struct MemoryStore;
