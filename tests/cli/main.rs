//! The command line, run as people run it: what is printed where, and with which status it ends.

mod commands;
mod confined;
mod continued;
mod fuzz;
mod input;
mod repro;
mod run;
mod usage;
mod workers;
