//! A worker: a process that runs the cases its supervisor asks for, one after the other, and says
//! what came of each. It writes nothing but its answers, and notes each input where it outlives
//! the worker (`super::flight`) before anything is done with it. What it has no use for, it gives up
//! first ([`super::confine`]).

use std::io::{self, BufReader};

use super::confine::{Layer, confine};
use super::examine::Examiner;
use super::flight::Note;
use super::protocol::{Answer, Orders, Reply, Request, hear, say};
use super::small::small;

/// A process that is ready to be a worker.
#[derive(Debug)]
pub struct Prepared {
    note: Note,
    /// By what it is confined.
    pub confined_by: Vec<Layer>,
}

/// Makes this process one that can be a worker: opens what it needs, then confines itself by these
/// layers, as far as they are to be had. To be called before there are other threads.
///
/// # Errors
/// If there is no supervisor.
pub fn prepare(layers: &[Layer]) -> io::Result<Prepared> {
    let note = Note::open()?;
    die_with_parent()?;
    let confined_by = confine(layers);
    Ok(Prepared { note, confined_by })
}

/// Serves the supervisor on standard input and output until it has no more to ask.
///
/// # Errors
/// If there is no supervisor there.
pub fn serve(prepared: Prepared) -> io::Result<()> {
    let mut requests = BufReader::new(io::stdin().lock());
    let mut replies = io::stdout().lock();
    let Prepared { note, confined_by } = prepared;
    let orders: Orders = hear(&mut requests)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut examiner = match Examiner::new(orders.job.clone()) {
        Ok(examiner) => examiner,
        Err(why) => return say(&mut replies, &unable(why)),
    };
    say(&mut replies, &Reply::<Answer>::Ready(confined_by))?;
    let mut company = false;
    while let Some(request) = hear(&mut requests)? {
        let case = match request {
            Request::Run(case) => case,
            Request::Shrink { case, attempt } => {
                let shrunk = small(&orders.job, case, attempt);
                let shrunk = Answer::Shrunk(Box::new(shrunk));
                say(&mut replies, &Reply::Answer(shrunk))?;
                continue;
            }
        };
        let mishap = orders
            .mishaps
            .iter()
            .find(|mishap| mishap.case == case && (company || !mishap.in_company));
        let ran = examiner.examine(case, |attempt, bytes| {
            // What cannot be noted can be made again from the number of the case.
            let _ = note.input(case, attempt, bytes);
            if let Some(mishap) = mishap {
                mishap.kind.happen();
            }
        });
        match ran {
            Ok(ran) => say(&mut replies, &Reply::Answer(Answer::Ran(Box::new(ran))))?,
            Err(why) => return say(&mut replies, &unable(why)),
        }
        company = true;
    }
    Ok(())
}

fn unable(why: String) -> Reply<Answer> {
    Reply::Unable(why)
}

/// Has the system end this process when the supervisor's does, however that ends; and lets it leave
/// no image of its memory behind when it crashes, since address space is reserved by the gigabyte.
fn die_with_parent() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, Signal};
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, nothing)?;
    Ok(())
}
