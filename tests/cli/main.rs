//! The command line, run as people run it: what is printed where, and with which status it ends.

mod commands;
mod fuzz;
mod input;
mod repro;
mod run;
mod usage;
mod workers;
