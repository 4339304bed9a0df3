//! Services: handlers over typed events.
