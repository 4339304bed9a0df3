//! Typed events and the envelope they travel in.
