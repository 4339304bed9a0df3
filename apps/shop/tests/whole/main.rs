//! The whole shop, from outside: the real program, over HTTP, on a free port.

mod bank;
mod cli;
mod faults;
mod kills;
mod live;
mod orders;
mod refusals;
mod saga;
mod support;
