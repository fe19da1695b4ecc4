//! The command line, run as people run it: what is printed where, and with which status it ends.

mod commands;
mod confined;
mod continued;
mod corpus;
mod damaged;
mod explain;
mod fuzz;
mod input;
mod modules;
mod report;
mod repro;
mod run;
mod sandbox;
mod seeds;
mod shrink;
mod usage;
mod workers;
