//! The states of rollouts and attempts, and what moves them.
